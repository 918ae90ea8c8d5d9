"""Scores in units of the reference policy: subtract its mean, divide by its standard deviation, per objective.

Pairs leave the zero of a score open, and its scale too in practice: only after this may two objectives be added.  An
objective whose zero means something (a limit that is kept or broken) is divided and never shifted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mora.errors import InputError
from mora.functional import risk
from mora.types import RewardBelief

CONSTANT = 1e-6  # a deviation below this share of the mean's size is rounding


@dataclass(frozen=True, kw_only=True)
class Standardization:
    """Mean and deviation (M,) in fp32, which objectives are shifted by the mean, and where the numbers come from.

    The members of an ensemble have scales of their own, which pairs leave open: ``members`` are what each is shifted
    and divided by (2, M, E) to bring it to one scale, so that none outweighs the others.  ``mean`` and ``std``
    are then those of the members' mean, on that scale.
    """

    mean: Tensor
    std: Tensor
    shifted: tuple[bool, ...] | None = None  # None: all
    members: Tensor | None = None  # (2, M, E)
    provenance: Mapping[str, Any]

    @classmethod
    def fit(
        cls,
        belief: RewardBelief,
        *,
        objectives: Sequence[str],
        prompts: Sequence[str],
        provenance: Mapping[str, Any],
        weights: Tensor | None = None,
        zero: Sequence[bool] | None = None,
        members: int = 1,
    ) -> Standardization:
        """Statistics of the belief's mean over reference samples; the number of samples and their prompts are noted.

        ``weights`` (B,), which sum to 1, weigh the samples: with all responses and their probabilities the statistics
        are exact.  Objectives whose ``zero`` means something keep it.  ``members`` says how many equal parts of the
        atoms belong to a member each.  Raises InputError when a deviation is 0 or not finite.
        """
        rows = len(belief.atoms)
        share = torch.full((rows,), 1 / rows, dtype=torch.float64) if weights is None else weights
        kept = tuple(zero or (False,) * len(objectives))
        scales = None
        if members > 1:
            middle, scale = _moments(_by_member(belief, members), share, objectives)
            scales = torch.stack([torch.where(torch.tensor(kept)[:, None], torch.zeros_like(middle), middle), scale])
            belief = _alike(belief, scales)
        center, deviation = _moments(risk.mean(belief)[..., None], share, objectives)
        digest = hashlib.sha256("\x1f".join(sorted(set(prompts))).encode()).hexdigest()
        facts = {**provenance, "samples": len(belief.atoms), "prompts_sha256": digest}
        return cls(
            mean=center[:, 0],
            std=deviation[:, 0],
            shifted=None if zero is None else tuple(not one for one in zero),
            members=scales,
            provenance=facts,
        )

    @property
    def shifts(self) -> tuple[bool, ...]:
        """Per objective whether the mean is subtracted; else scores are only divided and 0 stays 0."""
        return (True,) * len(self.mean) if self.shifted is None else self.shifted

    @property
    def shift(self) -> Tensor:
        """What is subtracted (M,): the mean, or 0."""
        return torch.where(torch.tensor(self.shifts), self.mean, torch.zeros_like(self.mean))

    def __call__(self, belief: RewardBelief) -> RewardBelief:
        """The belief in standard units: every atom of a member shifted and scaled alike."""
        if self.members is not None:
            belief = _alike(belief, self.members)
        shift, std = self.shift.to(belief.atoms), self.std.to(belief.atoms)
        return replace(belief, atoms=(belief.atoms - shift[:, None]) / std[:, None])

    def in_units(self, scores: Tensor) -> Tensor:
        """Scores (M,) in standard units; of an ensemble, what all members score, after the mean over them."""
        shift, std = self.of_members(1 if self.members is None else self.members.shape[-1])
        return ((scores[:, None] - shift) / std).mean(-1)

    def select(self, columns: Sequence[int]) -> Standardization:
        """The statistics of some objectives, in the order given."""
        shifted = tuple(self.shifts[column] for column in columns)
        members = None if self.members is None else self.members[:, list(columns)]
        mean, std = self.mean[list(columns)], self.std[list(columns)]
        return replace(self, mean=mean, std=std, shifted=shifted, members=members)

    def of_members(self, count: int) -> tuple[Tensor, Tensor]:
        """What each of ``count`` members is shifted and divided by in all: (M, E) each."""
        shape = (len(self.mean), count)
        if self.members is None:
            return self.shift[:, None].expand(shape), self.std[:, None].expand(shape)
        shift, std = self.members
        return shift + std * self.shift[:, None], std * self.std[:, None]

    def scale_only(self) -> Standardization:
        """The same statistics, of which only the deviations are used.

        Members stay aligned, since pairs say nothing of the distance between them: each is shifted by its distance from
        the mean of all.
        """
        members = self.members
        if members is not None:
            shift, std = members
            members = torch.stack([shift - std * (shift / std).mean(-1, keepdim=True), std])
        return replace(self, shifted=(False,) * len(self.mean), members=members)

    def facts(self) -> dict[str, Any]:
        """As JSON; the fp32 numbers are written exactly."""
        numbers: dict[str, Any] = {"mean": self.mean.tolist(), "std": self.std.tolist(), "shifted": list(self.shifts)}
        if self.members is not None:
            numbers["members"] = dict(zip(("shift", "std"), self.members.tolist(), strict=True))
        return numbers | {"provenance": dict(self.provenance)}

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Standardization:
        """From what :meth:`facts` gave; facts that do not say what is shifted are of scores that all are."""
        mean, std = torch.tensor(facts["mean"], dtype=torch.float32), torch.tensor(facts["std"], dtype=torch.float32)
        shifted = tuple(facts["shifted"]) if "shifted" in facts else None
        own = facts.get("members")
        members = None if own is None else torch.tensor([own["shift"], own["std"]], dtype=torch.float32)
        return cls(mean=mean, std=std, shifted=shifted, members=members, provenance=facts["provenance"])


def _by_member(belief: RewardBelief, members: int) -> Tensor:
    """Mean of each member's atoms (B, M, E)."""
    atoms, weights = (part.unflatten(-1, (members, -1)) for part in (belief.atoms, belief.weights))
    return (atoms * weights).sum(-1) / weights.sum(-1)


def _alike(belief: RewardBelief, members: Tensor) -> RewardBelief:
    """The belief with the atoms of every member shifted and divided by its own numbers (2, M, E)."""
    shift, std = members.to(belief.atoms)
    atoms = belief.atoms.unflatten(-1, (members.shape[-1], -1))
    return replace(belief, atoms=((atoms - shift[..., None]) / std[..., None]).flatten(-2))


def _moments(scores: Tensor, share: Tensor, objectives: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Mean and deviation (M, E), in fp32, of scores (B, M, E) weighed by ``share`` (B,)."""
    scores = scores.double().cpu()
    share = share.to(scores)[:, None, None]
    center = (share * scores).sum(0)
    deviation = (share * (scores - center) ** 2).sum(0).sqrt()
    for index, objective in enumerate(objectives):
        for value, middle in zip(deviation[index].tolist(), center[index].tolist(), strict=True):
            if not CONSTANT * max(1.0, abs(middle)) < value < float("inf"):
                raise InputError(
                    f"objective {objective}: the {len(scores)} reference samples score with a standard deviation of "
                    f"{value:.3g}, so scores have no unit; check the reward model or the rule, or take more "
                    "samples of a policy whose answers vary"
                )
    return center.float(), deviation.float()
