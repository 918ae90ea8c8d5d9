"""Pairwise losses on scores: which of two answers is better, and by how much."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

Strength = Literal["ignore", "margin", "scale"]  # what the strength of a preference does to its pair


def bradley_terry_loss(
    score_1: Float[Tensor, "*batch"],
    score_0: Float[Tensor, "*batch"],
    label: Float[Tensor, "*batch"],
    *,
    margin: float | Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Negative log-likelihood of a label under Bradley and Terry (1952), per pair, in nats.

    ``-[q log sigma(D - s m) + (1 - q) log sigma(-(D - s m))]`` with ``D = score_1 - score_0``, ``q`` the probability
    that answer 1 is better and ``s = sign(q - 1/2)``: the margin ``m`` (in logits, one for all or one per pair) is
    asked of the answer that the label favors, whichever side it stands on; a tie (q = 1/2) has none, so its optimum
    stays at D = 0.  A soft label's optimum moves with its margin, from ``logit(q)`` to ``logit(q) + s m``.
    """
    shifted = score_1 - score_0 - margin * (label - 0.5).sign()
    return -(label * logsigmoid(shifted) + (1.0 - label) * logsigmoid(-shifted))


def strength_loss(
    score_1: Float[Tensor, "*batch"],
    score_0: Float[Tensor, "*batch"],
    label: Float[Tensor, "*batch"],
    strength: Float[Tensor, "*batch"],
    *,
    margin: float,
    use: Strength,
) -> Float[Tensor, "*batch"]:
    """:func:`bradley_terry_loss` of pairs that say by how much the better answer is better (``strength``, at least 0).

    "ignore": the margin ``m`` for every pair.  "margin": ``m strength`` per pair, in logits per unit of strength
    (Touvron et al. 2023, eq. 2).  "scale": the loss times the strength, scaled Bradley-Terry (Wang et al. 2024,
    HelpSteer2-Preference): it weighs pairs and leaves the optimum of each where it is.
    """
    if use == "scale":
        return strength * bradley_terry_loss(score_1, score_0, label, margin=margin)
    asked = margin * strength if use == "margin" else margin
    return bradley_terry_loss(score_1, score_0, label, margin=asked)


def label_loss(
    log_wins_1: Float[Tensor, "*batch"], log_wins_0: Float[Tensor, "*batch"], label: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """``-[q log P_1 + (1 - q) log P_0]`` per pair, in nats; q is the probability that answer 1 is better.

    The log-probabilities of both outcomes are given, so none is found by subtracting the other from 1.
    """
    return -(label * log_wins_1 + (1.0 - label) * log_wins_0)


def centering_loss(score_1: Float[Tensor, "*batch"], score_0: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """``(r_1 + r_0)^2``: pulls a pair's mean to 0 and leaves its gap free (Eisenstein et al. 2023, eq. 2)."""
    return (score_1 + score_0).square()


def l2_loss(score_1: Float[Tensor, "*batch"], score_0: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """``r_1^2 + r_0^2``: pulls both scores to 0 and so shrinks the gap as well; a prior on the scale."""
    return score_1.square() + score_0.square()
