"""Opening a finished policy run, or a plain model, to use it: what generate, export and evaluate share."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.files import read_object
from mora.model.capacity import check_lengths, check_tokens
from mora.model.load import ModelSpec, load_causal, load_tokenizer
from mora.model.place import check_weights, folder_of
from mora.model.policy import Policy
from mora.model.stored import load_policy
from mora.model.tokenizer import check_date
from mora.run.build import build
from mora.runtime.folder import RunFolder
from mora.settings.compose import compose
from mora.settings.identity import plain
from mora.settings.stored import stored_config
from mora.settings.tree import conf_dir


@dataclass(kw_only=True)
class Speaker:
    """Who answers prompts: a trained policy, or a plain model, which has no objectives to weigh."""

    name: str
    policy: Policy | PreTrainedModel
    encoder: Encoder
    objectives: list[str]


@dataclass(kw_only=True)
class PolicyRun(Speaker):
    """A trained policy with its tokenizer and the names of its objectives."""

    policy: Policy
    folder: RunFolder
    config: dict[str, Any]
    device: torch.device


def quiet_libraries() -> None:
    """No progress bars and notices of libraries between our own lines; their warnings stay."""
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, when others import it, need not look and report


def compute_device() -> torch.device:
    """Where a command that trains nothing computes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def open_run(run: str, root: str) -> tuple[RunFolder, dict[str, Any]]:
    """A finished run and its configuration.

    Raises InputError for a folder that is none, and for a configuration that names what it may not.
    """
    quiet_libraries()
    folder = RunFolder.find(run, root)
    if not folder.finished:
        raise InputError(
            f"{folder.path} is not finished; run its command again to complete it: see {folder.path / 'overrides.yaml'}"
        )
    return folder, stored_config(folder.path)


def open_policy(run: str, root: str) -> PolicyRun:
    """The policy of a finished run.  Raises InputError when the run trained something else."""
    folder, config = open_run(run, root)
    stored = folder.path / "policy"
    if not stored.is_dir():
        name = config["algo"]["name"]
        raise InputError(
            f"{folder.path} holds no policy (it is a run of {name}); name one such as algo=panacea or algo=ppo"
        )
    device = compute_device()
    spec = ModelSpec(**{k: v for k, v in config["model"].items() if k != "_target_"})
    policy, tokenizer = load_policy(stored, device, spec, reference=False)
    limits = read_object(folder.path / "dataset.json", ["max_prompt", "max_response"])
    return PolicyRun(
        name=folder.id,
        folder=folder,
        config=config,
        policy=policy,
        encoder=Encoder(tokenizer, limits["max_prompt"], limits["max_response"], "cut_answer"),
        objectives=list(policy.adapter.objectives) if policy.steered else [],
        device=device,
    )


def open_model(path: str, *, max_prompt: int, max_response: int, template_date: str) -> Speaker:
    """A plain causal model of a folder or hub id, within limits in tokens.

    ``path`` may also be the name of a pretrained model of ``conf/model``.  Raises InputError where there is none, and
    where it cannot read texts of these lengths.
    """
    quiet_libraries()
    check_date(template_date, "plain.template_date")
    spec = _named_model(path, template_date)
    path = path if spec is None or spec.path is None else spec.path
    check_weights(folder_of(path, None if spec is None else spec.revision, where="model"))
    if spec is not None:  # with the attention, precision and chat template of its YAML
        model, tokenizer = spec.loaded(), spec.tokenizer([], tokens="bytes")
    else:
        model, tokenizer = load_causal(path), load_tokenizer(path, template_date=template_date)
    check_tokens(model, tokenizer, path)
    check_lengths(model, max_prompt, max_response, path, section="plain")
    encoder = Encoder(tokenizer, max_prompt, max_response, "cut_answer")
    return Speaker(name=path, policy=model.to(compute_device()).eval(), encoder=encoder, objectives=[])  # type: ignore[arg-type]


def _named_model(name: str, template_date: str) -> ModelSpec | None:
    """A model of ``conf/model``; None for a folder that is there, and for a hub id.

    Raises InputError for one without weights, for an encoder, and for a word that is none of these.
    """
    known = sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))
    if Path(name).exists():
        return None
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if close:
            raise InputError(f"model={name}: there is no such folder, nor such a file in conf/model; is it {close[0]}?")
        return None
    section = plain(compose("train", [f"model={name}", f"model.name={name}"], complete=False))["model"]
    if section["path"] in (None, "???"):
        raise InputError(f"model={name}: has no weights of its own; name a pretrained model, a folder or a hub id")
    spec: ModelSpec = build(section, template_date=template_date)
    if spec.encoder:
        raise InputError(f"model={name}: is an encoder, which answers nothing; name a causal language model")
    return spec


def output_folder(out: str | None, folder: RunFolder, name: str) -> Path:
    """Where an export goes: ``out``, else a folder inside the run.  Raises InputError for a path that is taken."""
    path = folder.path / "export" / name if out is None else Path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"out={path} exists and is not empty; name another folder or delete it")
    return path
