"""A reward model of any trunk: pooled hidden states, a head for every objective, fp32 scores.

On disk it is a Hugging Face folder of the trunk with its tokenizer (several trunks stand below ``trunks/``),
``head.safetensors``, and ``reward.json``.  Where there are adapters it holds ``lora.safetensors`` and no trunk: the
frozen trunk is named in ``reward.json``, as an adapter of a policy names its base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mora.errors import InputError
from mora.files import new_folder, read_object, write_json
from mora.manifest import check_content
from mora.model.backbones import SHARED, Backbones, Layout, TrunkSource, attention_of
from mora.model.capacity import check_tokens
from mora.model.features import POOLS, Pooling
from mora.model.heads import RewardHead
from mora.model.load import load_tokenizer
from mora.model.stored import base_reference, located
from mora.tensors import load_tensors, stored_shapes
from mora.types import BeliefShape

HEAD, CARD = "head.safetensors", "reward.json"
NO_HEAD = "without its head the reward model cannot score; train it again"
SCHEMA = 5  # of reward.json
FACTS = ("kind", "objectives", "width")  # of any reward
TRAINED = (*FACTS, "members", "layout", "trunk", "pooling")  # of one that was trained here


class Kind(Protocol):
    """What a score model needs to know of a reward kind."""

    name: ClassVar[str]

    @property
    def shape(self) -> BeliefShape:
        """How many models' raw outputs stand side by side."""

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Raw outputs per objective before training (W,)."""


class ScoreModel(nn.Module):
    """Backbones and head; ``objectives`` name the M outputs and ``kind`` the reward kind that reads them.

    ``pooling``: what the head reads of a sequence, the ``last`` hidden state of a causal trunk or the ``mean`` of an
    encoder's.
    ``source``: where frozen trunks under adapters were loaded from; None: trunks are stored with the model.
    """

    def __init__(
        self,
        backbones: Backbones,
        head: RewardHead,
        tokenizer: PreTrainedTokenizerBase,
        *,
        objectives: Sequence[str],
        kind: str,
        layout: Layout,
        pooling: Pooling = "last",
        source: TrunkSource | None = None,
    ) -> None:
        super().__init__()
        for trunk in backbones.trunks:
            check_tokens(trunk, tokenizer, trunk.config.name_or_path or "the trunk of the reward model")
        self.backbones, self.head = backbones, head
        self.tokenizer, self.objectives, self.kind, self.layout = tokenizer, tuple(objectives), kind, layout
        self.pooling = pooling
        self.source = source if source is not None and source.path is not None and layout.adapted else None

    @classmethod
    def new(
        cls,
        make: Callable[[], PreTrainedModel],
        tokenizer: PreTrainedTokenizerBase,
        kind: Kind,
        *,
        objectives: Sequence[str],
        seed: int,
        layout: Layout = SHARED,
        pooling: Pooling = "last",
        source: TrunkSource | None = None,
    ) -> ScoreModel:
        """A score model before training: trunks as ``make`` gives them, adapters and a head drawn from ``seed``."""
        sizes = {"objectives": len(objectives), "members": kind.shape.members}
        backbones = Backbones.new(make, layout, **sizes, seed=seed)
        head = RewardHead(
            backbones.hidden, len(objectives), len(kind.initial_bias), backbones=layout.backbones(**sizes)
        )
        head.reset(kind.initial_bias, torch.Generator().manual_seed(seed))
        head.to(backbones.trunks[0].device)
        own: dict[str, Any] = {"objectives": objectives, "kind": kind.name, "layout": layout, "pooling": pooling}
        return cls(backbones, head, tokenizer, source=source, **own)

    def forward(
        self, ids: Tensor, mask: Tensor, *, every_token: bool = False, features: Tensor | None = None
    ) -> Tensor:
        """Raw outputs (B, M, W) in fp32 of sequences (B, L), padded on any side, where ``mask`` is True.

        With ``every_token`` they are (B, L, M, W), read at every token.  With the ``features`` (B, H) of a trunk that
        stays as it is, the head alone is asked.
        """
        if features is not None:
            pooled = [features]
        else:
            pooled = self.backbones(ids, mask, _whole) if every_token else self.features(ids, mask)
        raw: Tensor = self.head(pooled)
        return raw

    def features(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        """What the head reads: each backbone's pooled hidden states (B, H)."""
        features: list[Tensor] = self.backbones(ids, mask, partial(POOLS[self.pooling], mask=mask))
        return features

    @property
    def device(self) -> torch.device:
        """Where the head is."""
        return self.head.linear.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the trunks."""
        return self.backbones.dtype

    @property
    def members(self) -> int:
        """Members E of each objective."""
        return self.head.members

    def save(self, folder: Path | str, facts: Mapping[str, Any]) -> None:
        """Write the model as ``folder``, atomically; ``facts`` are added to ``reward.json``."""
        folder, attention = Path(folder), attention_of(self.backbones.trunks[0])
        source = TrunkSource(path=None, attention=attention)
        if self.source is not None:
            base = base_reference(str(self.source.path), folder)
            source = replace(self.source, path=base, attention=attention)
        own = {
            "kind": self.kind,
            "objectives": list(self.objectives),
            "width": self.head.width,
            "members": self.members,
            "layout": self.layout.facts(),
            "trunk": asdict(source),
        }
        with new_folder(folder, sealed=True) as place:
            self.backbones.save(place, trunks=source.path is None)
            self.tokenizer.save_pretrained(place)
            save_file(
                {k: v.detach().cpu().contiguous() for k, v in self.head.linear.state_dict().items()}, place / HEAD
            )
            write_json(place / CARD, {"schema": SCHEMA, **own, "pooling": self.pooling, **facts})

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        objectives: Sequence[str] | None = None,
        width: int | None = None,
        device: torch.device | str = "cpu",
    ) -> ScoreModel:
        """The model of ``folder``, in evaluation mode; nothing is ever re-initialized.

        Raises InputError for a folder that is no reward model, a head that is missing or of another shape, weights of
        the trunks that are missing, and for other ``objectives`` or another ``width`` than asked.
        """
        folder = Path(folder)
        card = read_card(folder, TRAINED)
        check_content(folder)
        names = tuple(card["objectives"])
        if objectives is not None and tuple(objectives) != names:
            raise InputError(f"{folder} scores {', '.join(names)}, not {', '.join(objectives)}; train one for these")
        if width is not None and width != card["width"]:
            raise InputError(
                f"{folder} has {card['width']} outputs per objective (reward kind {card['kind']}), not {width}; name "
                "the reward that it was trained with, or train another"
            )
        _check_width(folder, card)
        if card["pooling"] not in POOLS:
            raise InputError(f"{folder / CARD}: pooling {card['pooling']!r} is none of {', '.join(POOLS)}")
        layout, sizes = Layout.read(card["layout"]), {"objectives": len(names), "members": card["members"]}
        source = _source(card, folder)
        backbones = Backbones.load(folder, layout, **sizes, source=source)
        head = RewardHead(backbones.hidden, len(names), card["width"], backbones=layout.backbones(**sizes))
        _load_head(folder / HEAD, head)
        tokenizer = load_tokenizer(folder, stored=True)
        own: dict[str, Any] = {"objectives": names, "kind": card["kind"], "layout": layout, "pooling": card["pooling"]}
        model = cls(backbones, head, tokenizer, source=source, **own)
        return model.to(device).eval()

    @torch.no_grad()
    def check_padding(self) -> None:
        """Score the same token sequences alone, together, and padded on either side, also with the end token.

        Raises InputError when a score differs by more than 1e-4 relative to the larger of 1 and the score; where the
        trunk is below fp32, whose rounding depends on the shape of a batch, when an objective moves by more than .3 of
        its deviation over the sequences (root mean squares): a model that reads padding moves it as other texts do.
        """
        eos = self.tokenizer.eos_token_id
        pad = eos if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        words = [(7 * i + 3) % len(self.tokenizer) for i in range(40)]
        sequences = [
            [*words[start : start + size], eos] for start, size in ((0, 4), (0, 9), (11, 6), (20, 3), (27, 12))
        ]
        alone = torch.cat([self(*self._padded([one], 0, pad, left=False)) for one in sequences])
        for token in (pad, eos):
            for left in (False, True):
                moved = (self(*self._padded(sequences, 3, token, left=left)) - alone).abs()
                if self.dtype == torch.float32:
                    error, allowed = (moved / alone.abs().clamp_min(1.0)).max(), 1e-4
                else:
                    spread = alone.var(0, correction=0).mean(-1).sqrt().clamp_min(torch.finfo(alone.dtype).tiny)
                    error, allowed = ((moved**2).mean((0, 2)).sqrt() / spread).max(), 0.3
                if not error <= allowed:
                    raise InputError(
                        f"the reward model's scores depend on padding: {'left' if left else 'right'} padding with "
                        f"token {token} moves one by {error:.2g} (allowed {allowed:g}); train one with "
                        "model.attention=eager, or on another model"
                    )

    def _padded(self, sequences: Sequence[list[int]], extra: int, pad: int, *, left: bool) -> tuple[Tensor, Tensor]:
        width = max(len(s) for s in sequences) + extra
        ids = torch.full((len(sequences), width), pad, dtype=torch.int64)
        mask = torch.zeros(len(sequences), width, dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            place = slice(width - len(sequence), width) if left else slice(len(sequence))
            ids[row, place] = torch.tensor(sequence)
            mask[row, place] = True
        return ids.to(self.device), mask.to(self.device)


def _whole(hidden: Tensor) -> Tensor:
    return hidden


def read_card(folder: Path | str, needed: Sequence[str] = FACTS) -> dict[str, Any]:
    """``reward.json`` of a reward folder.  Raises InputError when there is none or it lacks what is ``needed``."""
    path = Path(folder) / CARD
    if not path.is_file():
        raise InputError(f"{folder} holds no reward model: {CARD} is missing; train one with algo=reward_model")
    card = read_object(path)
    if card.get("schema") != SCHEMA:
        raise InputError(f"{path}: was written by another version of mora; train the reward model again")
    missing = [key for key in needed if key not in card]
    if missing:
        raise InputError(f"{path}: {', '.join(missing)} missing; train the reward model again with algo=reward_model")
    return card


def _source(card: Mapping[str, Any], folder: Path) -> TrunkSource:
    """Where the trunks of a stored model are.  Raises InputError where a frozen one that it names is gone."""
    source = TrunkSource.read(card["trunk"], f"{folder / CARD}: trunk")
    return source if source.path is None else replace(source, path=located(source.path, folder, CARD))


def _check_width(folder: Path, card: Mapping[str, Any]) -> None:
    """Raises InputError where a card asks for other outputs than are stored, before any memory is taken for them."""
    shape = stored_shapes(folder / HEAD, NO_HEAD).get("weight", ())
    count, width, members = len(card["objectives"]), card["width"], card["members"]
    known = all(isinstance(number, int) and number > 0 for number in (width, members))
    if not known or shape[:1] != (count * width,) or width % members:
        raise InputError(
            f"{folder / HEAD}: weight has the shape {shape}, and {CARD} asks for {count} objectives of {width} outputs "
            f"by {members} members; the folder mixes two models: train the reward model again"
        )


def _load_head(path: Path, head: RewardHead) -> None:
    """Fill ``head``; raises InputError when a tensor is missing, of another shape, or the file is damaged."""
    tensors = load_tensors(path, NO_HEAD)
    for name, parameter in head.linear.named_parameters():
        shape = tuple(tensors[name].shape) if name in tensors else None
        if shape != tuple(parameter.shape):
            raise InputError(
                f"{path}: {name} has the shape {shape}, but {head.objectives} objectives of {head.width} outputs need "
                f"{tuple(parameter.shape)}; the folder mixes two models: train the reward model again"
            )
        parameter.data.copy_(tensors[name])
