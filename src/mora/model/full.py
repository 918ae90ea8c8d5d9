"""All weights of a policy are trained, and its reference policy is a frozen copy of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from mora import bounds
from mora.bounds import NonNegative
from mora.model.adapter import write_settings


@dataclass(frozen=True, kw_only=True)
class Full:
    """``adapter=full``; the fields are the keys of ``conf/adapter/full.yaml``."""

    kind: ClassVar[str] = "full"
    steered: ClassVar[bool] = False
    whole: ClassVar[bool] = True

    lr: NonNegative

    def __post_init__(self) -> None:
        bounds.check(self, "adapter")

    def attach(self, model: PreTrainedModel, objectives: Sequence[str], *, seed: int) -> FullAdapter:
        """Train every weight of ``model``; a frozen copy of it, on the same device, is the reference policy."""
        frozen = deepcopy(model).requires_grad_(False).eval()
        model.requires_grad_(True)
        return FullAdapter(model, frozen, self, objectives)


class FullAdapter:
    """No adapter: the model itself moves; a :class:`mora.model.adapter.Adapter`."""

    layers: Mapping[str, Any] = {}

    def __init__(
        self, model: PreTrainedModel, frozen: PreTrainedModel | None, settings: Full, objectives: Sequence[str]
    ) -> None:
        self.model, self.frozen, self.settings, self.objectives = model, frozen, settings, tuple(objectives)

    def using(self, preference: Tensor | None) -> AbstractContextManager[None]:
        """The trained model, at whatever preference."""
        return nullcontext()

    def off(self) -> AbstractContextManager[None]:
        """Nothing is switched: the reference policy is ``frozen``.  Raises RuntimeError where it was not loaded."""
        if self.frozen is None:
            raise RuntimeError("the policy was loaded without its reference policy")
        return nullcontext()

    def shrink(self, kept: Tensor) -> None:
        """All rows are alike."""

    def recompute(self, model: PreTrainedModel) -> None:
        """Recompute activations in the backward pass."""
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def groups(self) -> list[dict[str, Any]]:
        """One parameter group of an optimizer: all weights."""
        return [{"params": list(self.model.parameters()), "lr": self.settings.lr}]

    def low_rank(self, path: str, preference: Tensor | None) -> tuple[Tensor, Tensor]:
        """There are no adapted layers: raises KeyError."""
        raise KeyError(path)

    def save(self, folder: Path, base: str) -> None:
        """Write the whole model, and which one it started from."""
        self.model.save_pretrained(folder)
        write_settings(self, folder, base)

    def load(self, folder: Path) -> None:
        """Nothing is left to read: the model of ``folder`` was loaded whole."""
