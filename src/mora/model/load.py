"""Where models and tokenizers come from: a hub id, a folder, or a config and a seed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mora.bounds import Count
from mora.ends import name_ends
from mora.errors import InputError
from mora.manifest import check_content
from mora.model.dropout import without_dropout, without_rates
from mora.model.place import check_attention, check_tokenizer, check_weights, folder_of, reason
from mora.model.quantization import keep_unpacked, quantized
from mora.model.sizes import check_headers, check_shapes, check_size
from mora.model.suited import Rates, Sizes, Steering
from mora.model.tokenizer import check_date, copy_chat_template, separate, set_date, stated_ends, train_bpe, train_words
from mora.types import TokenKind

# what transformers raises about files that are damaged or make no sense
UNREADABLE: tuple[type[Exception], ...] = (OSError, ValueError, TypeError, LookupError, AttributeError)
UNREADABLE += (ArithmeticError, RuntimeError, ImportError, StrictDataclassError, SafetensorError, struct.error)
PLAIN_ATTENTION = ("eager", "sdpa")  # of PyTorch alone
LONG = 300  # characters of a reason beyond which its first sentence is told
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(kw_only=True)
class ModelSpec:
    """A base model; the fields are the keys of ``conf/model/*.yaml``."""

    name: str
    path: str | None  # hub id or folder; None: made from `config` with random weights
    revision: str | None
    config: Mapping[str, Any] | None  # transformers config of a model that is made, with its `model_type`
    vocab_size: Count | None  # of the BPE tokenizer trained for a model that is made
    chat_template: str | None  # folder, hub id or .jinja file to copy a chat template from; None: the tokenizer's own
    template_date: str  # YYYY-MM-DD: what a chat template that asks for it takes for today
    dtype: Literal["float32", "bfloat16", "float16"]
    quantization: Literal["4bit", "8bit"] | None
    attention: str
    gradient_checkpointing: bool
    rates: Rates | Mapping[str, Any]
    sizes: Sizes | Mapping[str, Any]
    steering: Steering | Mapping[str, Any]
    encoder: bool  # whether it reads both ways and writes nothing: the trunk of a reward model, and no policy
    needs_sft: bool  # whether a policy must be fine-tuned before preference training
    smoke: bool  # a model too small to say anything about real ones

    def __post_init__(self) -> None:
        if (self.path is None) == (self.config is None):
            raise InputError(
                "model: give either model.path (a hub id or folder) or model.config (a model to be made), not both"
            )
        if self.dtype not in DTYPES:
            raise InputError(f"model.dtype={self.dtype}: use one of {', '.join(DTYPES)}")
        if not self.attention.isidentifier():  # transformers fetches and runs code for what looks like a repository
            raise InputError(f"model.attention={self.attention}: use the name of an implementation, such as sdpa")
        check_attention(self.config, "model.config")
        check_date(self.template_date, "model.template_date")

    @property
    def micro_batch(self) -> int | None:
        """Rows of a pass that suit it; None: all of a process at once."""
        return self.sizes.micro_batch if isinstance(self.sizes, Sizes) else self.sizes.get("micro_batch")

    @property
    def trained(self) -> ModelSpec:
        """As this one is loaded where its weights are trained: in fp32, as small steps round away in bf16."""
        return replace(self, dtype="float32", quantization=None)

    def finish(self, module: nn.Module) -> None:
        """Round what was trained once, to ``dtype``: what is measured, stored and read by later stages is one model."""
        module.to(DTYPES[self.dtype])

    def tokenizer(self, texts: Iterable[str], *, tokens: TokenKind) -> PreTrainedTokenizerBase:
        """The model's tokenizer; for a model that is made, one of kind ``tokens`` trained on ``texts``."""
        if self.path is not None:
            tokenizer = load_tokenizer(self.path, self.revision)
        elif tokens != "bytes":
            tokenizer = train_words(texts, closed=tokens == "closed")
        else:
            if self.vocab_size is None:
                raise InputError(
                    "model.vocab_size: needed to train a tokenizer for a model that is made from model.config"
                )
            tokenizer = train_bpe(texts, self.vocab_size)
        if self.chat_template is not None:
            copy_chat_template(tokenizer, self.chat_template)
        elif self.encoder:
            separate(tokenizer)
        set_date(tokenizer, self.template_date)
        return tokenizer

    def build(self, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> PreTrainedModel:
        """The base model: ``loaded``, or made with random weights drawn from ``seed``."""
        if self.path is not None:
            return self.loaded()
        special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        return self.made(len(tokenizer), special, seed=seed)

    def loaded(self) -> PreTrainedModel:
        """The base model of a folder or of the hub: with its LM head, where it is no encoder."""
        assert self.path is not None
        return (load_backbone if self.encoder else load_causal)(self.path, self, revision=self.revision)

    def made(
        self, vocabulary: int, special: tuple[int | None, int | None, int | None], *, seed: int
    ) -> PreTrainedModel:
        """A model of ``config`` with random weights; ``special`` are the ids of the first, end and padding tokens.

        Raises InputError where the configuration makes no sense, or needs a package that is missing.
        """
        assert self.config is not None
        auto = AutoModel if self.encoder else AutoModelForCausalLM
        settings = dict(self.config)
        with told("model.config: no model can be made of it"):
            config = AutoConfig.for_model(
                settings.pop("model_type"),
                vocab_size=vocabulary,
                bos_token_id=special[0],
                eos_token_id=special[1],
                pad_token_id=special[2],
                **settings,
            )
            config = without_rates(config)
            check_size(auto, config, torch.float32, "model.config")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = auto.from_config(config, attn_implementation=self.attention, **_without_pooler(auto, config))
        return without_dropout(model.to(DTYPES[self.dtype]))


def load_tokenizer(
    path: str | Path, revision: str | None = None, *, template_date: str | None = None, stored: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub id, with the tokens that its model ends answers with (``mora.ends``).

    ``template_date`` (YYYY-MM-DD) is what its chat template takes for today; None where a run stored it, which has its
    date already, or where it is set later.  ``stored``: by a run, so that the tokenizer says itself what ends answers.
    Raises InputError when there is none, or it was damaged.
    """
    check_content(path)
    folder = folder_of(path, revision)
    check_tokenizer(folder)
    with told(f"{path}: no tokenizer can be loaded from there"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if len(tokenizer) <= len({*tokenizer.all_special_ids}):
        lacks = "its files hold special tokens alone, and no vocabulary; get the folder again"
        raise InputError(f"{path}: no tokenizer can be loaded from there: {lacks}")
    if not stored:
        name_ends(tokenizer, stated_ends(folder))
    if template_date is not None:
        set_date(tokenizer, template_date)
    return tokenizer


class Held(Protocol):
    """How weights are held in memory; a ``ModelSpec`` says it too."""

    @property
    def dtype(self) -> str | None:
        """Precision; None: as stored."""

    @property
    def attention(self) -> str:
        """Implementation of attention."""

    @property
    def quantization(self) -> str | None:
        """4bit, 8bit or None."""


def load_causal(path: str | Path, spec: ModelSpec | None = None, *, revision: str | None = None) -> PreTrainedModel:
    """A causal language model from a folder or hub id, in the precision of ``spec`` (None: as stored)."""
    return _load(AutoModelForCausalLM, path, spec, revision)


def load_backbone(path: str | Path, spec: Held | None = None, *, revision: str | None = None) -> PreTrainedModel:
    """A model without its LM head, for reward models."""
    return _load(AutoModel, path, spec, revision)


def load_classifier(path: str | Path, *, dtype: str, revision: str | None = None) -> PreTrainedModel:
    """A sequence classifier with all its weights, its head included, in the precision ``dtype``, dropout off.

    Raises InputError where there is none, where weights are missing (transformers would draw them anew), and where the
    head that was stored has weights that the classifier of this architecture does not read.
    """
    check_content(path)
    folder = folder_of(path, revision, where="reward.models")
    check_weights(folder)
    with told(f"{path}: no sequence classifier can be loaded from there"):
        config = without_rates(AutoConfig.from_pretrained(folder, trust_remote_code=False))
        made = check_size(AutoModelForSequenceClassification, config, DTYPES[dtype], str(path))
        check_headers(made, folder, path)
        options = {"trust_remote_code": False, "use_safetensors": True, "dtype": DTYPES[dtype]} | _attention(config)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    check_shapes(report, path)
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(
            f"{path}: the weights lack {missing[0]} ({len(missing)} missing in all), so it is no stock sequence "
            f"classifier ({type(model).__name__}); a reward model of mora is exported as one by mora.export "
            "to=classifier, and a model that needs code of its own cannot be used"
        )
    heads = {name for name, _ in model.named_children() if name != model.base_model_prefix}
    unread = sorted(key for key in report["unexpected_keys"] if key.split(".")[0] in heads)
    if unread:
        raise InputError(
            f"{path}: {type(model).__name__} does not read {unread[0]} of the stored head, so its scores would be "
            "others; name a stock sequence classifier"
        )
    return without_dropout(model)


def _load(auto: Any, path: str | Path, spec: Held | None, revision: str | None) -> PreTrainedModel:
    folder = folder_of(path, revision)
    dtype = None if spec is None or spec.dtype is None else DTYPES[spec.dtype]
    check_weights(folder, quantized=dtype is None)  # what is held as it is stored was written by a run
    options: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True, "dtype": dtype or "auto"}
    if spec is not None:
        options["attn_implementation"] = spec.attention
        if spec.quantization is not None:
            options["quantization_config"] = quantized(spec.quantization, DTYPES[spec.dtype or "float32"])
            options["device_map"] = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
    check_content(path)
    with told(f"{path}: no model can be loaded from there"):
        config = without_rates(AutoConfig.from_pretrained(folder, trust_remote_code=False))
        if spec is None or spec.quantization is None:
            check_headers(check_size(auto, config, dtype, str(path)), folder, path)
        options = _attention(config) | _without_pooler(auto, config) | options
        model, report = auto.from_pretrained(
            folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    check_shapes(report, path)
    if spec is not None and spec.quantization is not None:
        keep_unpacked(model)
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would go on with random weights
        raise InputError(f"{path}: the weights lack {missing[0]} ({len(missing)} missing in all); get the folder again")
    return without_dropout(model)


def _without_pooler(auto: Any, config: PreTrainedConfig) -> dict[str, bool]:
    """The option for an encoder whose pooler, which reward models do not read, would be left without gradient."""
    made: Any = auto._model_mapping.get(type(config), None) if auto is AutoModel else None
    return {"add_pooling_layer": False} if made and "add_pooling_layer" in signature(made).parameters else {}


def _attention(config: PreTrainedConfig) -> dict[str, str]:
    """The option for a model whose configuration asks for attention that transformers may fetch as code: plain one.

    It, and model.attention, hold only where ``config`` is given along: what the file says would win over them.
    """
    return {} if config._attn_implementation in (None, *PLAIN_ATTENTION) else {"attn_implementation": "eager"}


@contextmanager
def told(what: str) -> Iterator[None]:
    """What a library says about files that are damaged or make no sense becomes an InputError beginning ``what``."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{what} ({_short(error)})") from error


def _short(error: Exception) -> str:
    """The reason of an error, with what to set where it is the implementation of attention."""
    text = reason(error)
    if "attn_implementation" in text or "FlashAttention" in text:
        instead = "eager" if "scaled_dot_product_attention" in text else "sdpa, or install its package"
        return f"{text.split('. ')[0].removesuffix('.')}; set model.attention={instead}"
    return text if len(text) <= LONG else text.split(". ")[0]
