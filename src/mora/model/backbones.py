"""The trunks of a reward model: which weights the features of each head come from.

Objectives, and the members of an ensemble, share one trunk with a head each ("trunk"), have an adapter each on one
frozen trunk ("lora"), or a model each ("separate").  A backbone is a trunk with or without an adapter; each one costs a
forward pass, and heads on one backbone cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mora.errors import InputError
from mora.model.adapter import check_rank
from mora.model.features import last_hidden, width_of_trunk
from mora.model.load import DTYPES, PLAIN_ATTENTION, load_backbone
from mora.model.lora import BANK, GONE, LoRASettings, MultiLoRA, attach_several, checkpointed
from mora.model.lora import WEIGHTS as LORA_WEIGHTS

Sharing = Literal["trunk", "lora", "separate"]
SHARING = ("trunk", "lora", "separate")
TRUNKS = "trunks"  # folder of the trunks, where there are several


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What objectives share, what members share, and the shape of adapters where there are any."""

    objectives: Sharing
    members: Sharing
    lora: LoRASettings | None

    def __post_init__(self) -> None:
        for name in (self.objectives, self.members):
            if name not in SHARING:
                raise InputError(f"sharing={name}: must be one of {', '.join(SHARING)}")
        if self.adapted and self.lora is None:
            raise InputError("sharing=lora needs the shape of the adapters: algo.lora")

    @property
    def adapted(self) -> bool:
        """Whether there are adapters; then trunks are frozen."""
        return "lora" in (self.objectives, self.members)

    def counts(self, objectives: int, members: int) -> tuple[int, int]:
        """Number of trunks, and of adapters on each of them (at least 1; 1 without adapters is the trunk itself)."""
        sizes = dict.fromkeys(SHARING, 1)
        sizes[self.objectives] *= objectives
        sizes[self.members] *= members
        return sizes["separate"], sizes["lora"]

    def backbones(self, objectives: int, members: int) -> list[int]:
        """The backbone that the head of each (objective, member) reads, M E numbers, objective by objective."""
        _, adapters = self.counts(objectives, members)
        backbones = []
        for objective, member in product(range(objectives), range(members)):
            place = dict.fromkeys(SHARING, 0)
            for sharing, index, size in ((self.objectives, objective, objectives), (self.members, member, members)):
                place[sharing] = place[sharing] * size + index
            backbones.append(place["separate"] * adapters + place["lora"])
        return backbones

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Layout:
        """From what :meth:`facts` gave."""
        lora = facts["lora"]
        return cls(
            objectives=facts["objectives"],
            members=facts["members"],
            lora=None if lora is None else LoRASettings(**lora),
        )


SHARED = Layout(objectives="trunk", members="trunk", lora=None)


@dataclass(frozen=True, kw_only=True)
class TrunkSource:
    """Where trunks are loaded from, and how they are held; ``dtype`` None: as they are stored, by a run.

    ``path`` None: they are stored with the reward model.
    """

    path: str | None
    revision: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    attention: str

    @classmethod
    def read(cls, facts: Any, where: str) -> TrunkSource:
        """From a card.  Raises InputError that begins with ``where`` for what names no trunk."""
        names = {field.name for field in fields(cls)}
        if not isinstance(facts, dict) or set(facts) != names or not isinstance(facts["path"], str | None):
            raise InputError(f"{where}: names no trunk ({', '.join(sorted(names))}); train the reward model again")
        known = {"dtype": (None, *DTYPES), "quantization": (None, "4bit", "8bit"), "attention": PLAIN_ATTENTION}
        for key, allowed in known.items():
            if facts[key] not in allowed:
                raise InputError(f"{where}: {key} {facts[key]!r} is none of {allowed}; train the reward model again")
        return cls(**facts)

    def load(self, place: Path | None = None) -> PreTrainedModel:
        """A trunk; ``place`` is its folder where it is stored.  Raises InputError as ``load_backbone`` does."""
        path = self.path or place
        assert path is not None
        return load_backbone(path, self, revision=self.revision)


def attention_of(trunk: PreTrainedModel) -> str:
    """The attention of a trunk, to be loaded with again: another one than PyTorch's own may be missing elsewhere."""
    used = trunk.config._attn_implementation
    return used if used in PLAIN_ATTENTION else "sdpa"


class Backbones(nn.Module):
    """Trunks with their adapters; G backbones, numbered trunk by trunk."""

    def __init__(self, trunks: Sequence[PreTrainedModel], banks: Sequence[MultiLoRA]) -> None:
        super().__init__()
        widths = sorted({width_of_trunk(trunk) for trunk in trunks})
        if len(widths) > 1:
            raise InputError(f"the trunks of a reward model have different widths ({widths}); its heads need one width")
        self.hidden = widths[0]  # width H of the features
        self._trunks = nn.ModuleList(trunks)
        self.banks = list(banks)

    @property
    def trunks(self) -> list[PreTrainedModel]:
        """The trunks, in order."""
        return [cast(PreTrainedModel, trunk) for trunk in self._trunks]

    @classmethod
    def new(
        cls, make: Callable[[], PreTrainedModel], layout: Layout, *, objectives: int, members: int, seed: int
    ) -> Backbones:
        """As many trunks as ``layout`` asks for, each from ``make``, with adapters drawn from ``seed``."""
        trunks, adapters = layout.counts(objectives, members)
        made = [make() for _ in range(trunks)]
        if not layout.adapted:
            return cls(made, ())
        assert layout.lora is not None
        return cls(made, [attach_several(m, layout.lora, count=adapters, seed=seed + i) for i, m in enumerate(made)])

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the trunks."""
        return self.trunks[0].dtype

    def forward(self, ids: Tensor, mask: Tensor, pool: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """``pool`` of the last hidden states (B, L, H) of each backbone."""
        features = []
        for number, trunk in enumerate(self.trunks):
            if not self.banks:
                features.append(pool(last_hidden(trunk, ids, mask)))
                continue
            bank = self.banks[number]
            for adapter in range(bank.count):
                with bank.active.using(adapter):
                    features.append(pool(last_hidden(trunk, ids, mask)))
        return features

    def __len__(self) -> int:
        """Number of backbones G: passes that a sequence takes."""
        return len(self.trunks) * (self.banks[0].count if self.banks else 1)

    def weights(self, backbone: int) -> tuple[PreTrainedModel, dict[str, Tensor]]:
        """The trunk of a backbone, and its weights as those of a plain trunk, with the backbone's adapter merged in."""
        each = len(self) // len(self.trunks)
        number, adapter = divmod(backbone, each)
        trunk = self.trunks[number]
        weights = trunk.state_dict()
        return trunk, self.banks[number].merged(adapter, weights) if self.banks else weights

    def trained(self) -> list[nn.Parameter]:
        """What is trained beside the heads: the adapters, or else the trunks."""
        if self.banks:
            return [p for bank in self.banks for p in bank.parameters()]
        return list(self._trunks.parameters())

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass."""
        for number, trunk in enumerate(self.trunks):
            checkpointed(trunk, [self.banks[number].active] if self.banks else [])

    def save(self, folder: Path, *, trunks: bool = True) -> None:
        """Write the trunks as Hugging Face folders, and their adapters; without ``trunks`` the adapters alone.

        One trunk goes into ``folder`` itself, several below ``trunks/``.
        """
        for number, (place, trunk) in enumerate(zip(_places(folder, len(self.trunks)), self.trunks, strict=True)):
            place.mkdir(parents=True, exist_ok=True)
            if not self.banks:
                trunk.save_pretrained(place)
                continue
            if trunks:
                with self.banks[number].unwrapped(trunk):
                    trunk.save_pretrained(place)
            self.banks[number].save(place)

    @classmethod
    def load(cls, folder: Path, layout: Layout, *, objectives: int, members: int, source: TrunkSource) -> Backbones:
        """What :meth:`save` wrote, and the trunks as ``source`` says.

        Raises InputError for trunks that are missing or of different widths.
        """
        count, adapters = layout.counts(objectives, members)
        places = _places(folder, count)
        for place in places:
            if source.path is None and not (place / "config.json").is_file():
                raise InputError(f"{place} holds no trunk: the reward model in {folder} has {count}; train it again")
        trunks = [source.load(place) for place in places]
        if not layout.adapted:
            return cls(trunks, ())
        assert layout.lora is not None
        for place in places:
            check_rank(place / LORA_WEIGHTS, layout.lora.rank, count=adapters, remedy=GONE, what=BANK)
        banks = [attach_several(trunk, layout.lora, count=adapters, seed=0) for trunk in trunks]
        for bank, place in zip(banks, places, strict=True):
            bank.load(place)
        return cls(trunks, banks)


def _places(folder: Path, count: int) -> list[Path]:
    return [folder] if count == 1 else [folder / TRUNKS / str(number) for number in range(count)]
