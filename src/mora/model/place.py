"""Folders of models that others made: found on the hub or on disk, and looked through before anything reads them.

Nothing in such a folder is executed or unpickled.  What transformers would take up from it by itself and what changes
the model is refused by name: adapters beside the weights, and weights that were quantized by others.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from mora.errors import InputError
from mora.files import read_json
from mora.manifest import MODEL_FILES

ANSWER = 5.0  # seconds that the hub has to say which commit a model is at
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
MERGE = (  # what a user runs to make a model of an adapter and its base
    "from peft import AutoPeftModelForCausalLM as Adapted; from transformers import AutoTokenizer; "
    "model = Adapted.from_pretrained({source!r}, use_safetensors=True); "
    "base = model.peft_config['default'].base_model_name_or_path; "
    "model.merge_and_unload().save_pretrained({target!r}); "
    "AutoTokenizer.from_pretrained(base).save_pretrained({target!r})"
)
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
IMPLEMENTATION = re.compile(r"_?(attn|experts)_implementation(_internal)?")
MOST_LAYERS = 2**10
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "*.model", "*vocab*", "*.tiktoken", "tekken.json")
UNUSED = ["*/*", "adapter_model*", "consolidated*"]  # of a repository: what a stock model is not read from


def find(path: str, revision: str | None, where: str) -> str | None:
    """The commit of a model of the hub, None of a local folder; nothing of weights is downloaded.

    Where the hub cannot be asked, the commit of the copy in the local cache.  ``where`` is the setting that names it.
    Raises InputError where there is no such folder or model, or no copy of it, within seconds, and for a folder with
    an adapter.
    """
    folder = Path(os.path.expanduser(path))
    if folder.is_dir():
        _refuse_adapters(folder)
        return None
    if folder.is_file():
        if folder.suffix.lower() == ".gguf":
            raise InputError(f"{where}: {path} is a GGUF file, made for llama.cpp; {_converted(folder)}")
        raise InputError(f"{where}: {path} is a file; name the folder with the model's safetensors and config.json")
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise InputError(f"{where}: {path}: no such folder; name one, or a hub id (OWNER/NAME)")
    return _commit(path, revision, where)


def folder_of(path: str | Path, revision: str | None = None, *, where: str = "model.path") -> Path:
    """The folder of a model: a local one, or that of a model of the hub, downloaded where the cache lacks it.

    Raises InputError as ``find`` does, and for adapters beside the weights.
    """
    folder = Path(os.path.expanduser(path))
    if not folder.is_dir():
        commit = find(str(path), revision, where)
        assert commit is not None
        try:
            folder = _downloaded(str(path), commit)
        except OSError as error:
            raise InputError(f"{where}: {path} cannot be downloaded from the hub ({reason(error)})") from error
    _refuse_adapters(folder)
    return folder


def _refuse_adapters(folder: Path) -> None:
    """Raises InputError for an adapter, alone or beside a model, with the command that merges one that is alone."""
    found = next((folder / name for name in ADAPTERS if (folder / name).exists()), None)
    if found is None:
        return
    if (folder / "config.json").exists():
        raise InputError(
            f"{found}: an adapter lies beside the model and would change its answers and scores; remove "
            "the file to use the weights alone, or merge the adapter into them and name that folder"
        )
    code = MERGE.format(source=str(folder), target=str(folder) + "-merged")
    raise InputError(
        f"{folder} holds a PEFT adapter and no model; merge it into its base, and name the new folder:\n  "
        + shlex.join(["python", "-c", code])
    )


def check_weights(folder: Path, *, quantized: bool = False) -> None:
    """Refuse weights that would have to be unpickled, or, unless ``quantized``, that others quantized.

    Raises InputError, also where there are none in safetensors, and for a config.json that is no JSON, names code of
    the hub, or asks for absurdly many layers.
    """
    config = read_config(folder / "config.json")
    if not quantized and config.get("quantization_config") is not None:
        raise InputError(
            f"{folder / 'config.json'}: the weights were quantized by others (quantization_config); name the "
            "unquantized model, and quantize a frozen one by model.quantization"
        )
    check_attention(config, str(folder / "config.json"))
    layers = _layers(config)
    if layers > MOST_LAYERS:
        raise InputError(f"{folder / 'config.json'}: asks for {layers} layers (at most {MOST_LAYERS}); is it a model?")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: no model can be loaded from there: {_instead(folder)}")


def _instead(folder: Path) -> str:
    """What a folder without safetensors holds, and what to do."""
    pickled = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in PICKLED)
    if pickled:
        convert = f"M.from_pretrained({str(folder)!r}).save_pretrained('NEW_FOLDER')"
        return (
            f"{pickled[0]} is a pickle, which may run code when it is read; where you trust it, convert the weights to "
            f'safetensors: python -c "from transformers import AutoModelForCausalLM as M; {convert}", and copy the '
            "tokenizer's files beside them"
        )
    made = sorted(file.name for file in folder.glob("*.gguf"))
    if made:
        return f"{made[0]} is a GGUF file, made for llama.cpp; {_converted(folder / made[0])}"
    return "it holds no *.safetensors; get the folder again, or name another"


def _converted(file: Path) -> str:
    """What to do with a GGUF file."""
    command = ["python", "-m", "mora.prepare", "task=gguf", f"input={file}", f"output=models/{file.stem}"]
    return f"make a folder of it, and name that:\n  {shlex.join(command)}"


def check_tokenizer(folder: Path) -> None:
    """Refuse a folder without the files of a tokenizer, or whose only one needs a package that is missing.

    transformers would make a tokenizer that knows no word, or ask for another package.  Raises InputError.
    """
    if not any(any(folder.glob(form)) for form in TOKENIZERS):
        raise InputError(
            f"{folder}: no tokenizer can be loaded from there: it has no tokenizer.json; copy the files of the model's "
            "tokenizer (tokenizer*.json) into it"
        )
    pieces = sorted(file.name for file in folder.glob("*.model"))
    if pieces and not (folder / "tokenizer.json").is_file() and importlib.util.find_spec("sentencepiece") is None:
        raise InputError(
            f"{folder}: no tokenizer can be loaded from there: {pieces[0]} alone is read by the package sentencepiece, "
            "which is not installed (pip install sentencepiece); or copy the model's tokenizer.json beside it"
        )


def read_config(path: Path) -> dict[str, Any]:
    """A ``config.json`` or ``generation_config.json``; empty where there is none.  Raises InputError for no object."""
    config = read_json(path, constants=True) if path.is_file() else {}  # transformers writes Infinity
    if not isinstance(config, dict):
        raise InputError(f"{path}: is no configuration of a model; get the folder again")
    return config


def check_attention(config: Any, where: str) -> None:
    """Refuse an implementation of attention or of experts, at any depth, that transformers would fetch from the hub.

    It fetches and runs a kernel for what looks like a repository.  Raises InputError that begins with ``where``.
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            named = [v for v in (value.values() if isinstance(value, Mapping) else [value]) if isinstance(v, str)]
            if IMPLEMENTATION.fullmatch(str(key)) and (code := [name for name in named if not name.isidentifier()]):
                raise InputError(
                    f"{where}: {key} names {code[0]!r}, which would be code from elsewhere and is never run; remove "
                    "the key, and choose by model.attention"
                )
            check_attention(value, where)
    elif isinstance(config, (list, tuple)):
        for value in config:
            check_attention(value, where)


def _layers(config: dict[str, Any]) -> int:
    keys = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
    found = [config.get(key) for key in keys]
    nested = [value for value in config.values() if isinstance(value, dict)]
    return max([value for value in found if isinstance(value, int)] + [_layers(value) for value in nested], default=0)


@lru_cache(maxsize=64)
def _commit(path: str, revision: str | None, where: str) -> str:
    """Asked once by a process, so that all its stages read one commit."""
    try:
        commit = huggingface_hub.HfApi().model_info(path, revision=revision, timeout=ANSWER).sha
        assert commit is not None
        return commit
    except GatedRepoError as error:
        raise InputError(
            f"{where}: {path} is gated on the hub: accept its terms there and log in (hf auth login)"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{where}: there is no folder {path}, and the hub has no such model, or it needs a login"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"{where}: {path} has no revision {revision} on the hub") from error
    except HFValidationError as error:
        raise InputError(f"{where}: {path} is no folder and no hub id ({reason(error)})") from error
    except Exception as error:  # the errors of the network have no common base but the client's own
        copy = _cached(path, revision)
        if copy is not None:
            return copy.name
        at = "" if revision is None else f" at revision {revision}"
        raise InputError(
            f"{where}: the hub cannot be reached ({reason(error)}), and the local cache has no copy of {path}{at}, nor "
            "is there a folder of that name; name a local folder, or download it where there is a network (hf download)"
        ) from error


def _cached(path: str, revision: str | None) -> Path | None:
    """The copy of a model in the local cache, where it has weights."""
    try:
        folder = Path(huggingface_hub.snapshot_download(path, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return None
    return folder if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")) else None


@lru_cache(maxsize=64)
def _downloaded(path: str, commit: str) -> Path:
    copy = _cached(path, commit)  # of this very commit: it needs no network
    if copy is not None:
        return copy
    allowed = [f"*{suffix}" for suffix in MODEL_FILES]
    return Path(
        huggingface_hub.snapshot_download(path, revision=commit, allow_patterns=allowed, ignore_patterns=UNUSED)
    )


def available_memory() -> int | None:
    """Bytes that this process may still take, by the kernel and by its control group; None where neither says."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    group = Path("/sys/fs/cgroup")
    if (group / "memory.max").is_file() and (limit := (group / "memory.max").read_text().strip()) != "max":
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(cached.get("inactive_file", 0))
        found.append(int(limit) - used)
    return min(found, default=None)


def reason(error: BaseException) -> str:
    """What a library says is wrong: its first paragraph on one line, or what it means where it asks for code."""
    if "trust_remote_code" in str(error):
        return "it needs code of its own (auto_map in its config.json), which is never run; name a stock architecture"
    paragraph = str(error).strip().split("\n\n")[0]
    return " ".join(paragraph.split()) or type(error).__name__
