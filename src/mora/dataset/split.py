"""Train and test, split by prompt: all rows of a prompt are on one side, whatever else the source holds."""

from __future__ import annotations

from collections.abc import Mapping

from mora.types import content_id

_SPAN = float(1 << 63)


def in_test(prompt: str, test_share: float) -> bool:
    """Whether a prompt is a test prompt: a hash of its text below ``test_share``; other prompts have no say in it."""
    return content_id("test split", prompt) / _SPAN < test_share


def part(prompt: str, shares: Mapping[str, float]) -> str:
    """The part that a prompt belongs to, by the same hash as ``in_test``; ``shares`` of the parts sum to 1.

    ``test`` comes first along the hash, whatever its place in ``shares``: a prompt is in the part ``test`` just when
    ``in_test`` says so of that share.
    """
    ordered = sorted(shares, key=lambda name: name != "test")  # a stable sort: the others keep their order
    point, bound = content_id("test split", prompt) / _SPAN, 0.0
    for name in ordered:
        bound += shares[name]
        if point < bound:
            return name
    return next(name for name in reversed(ordered) if shares[name] > 0)  # rounding: the sum may miss 1 by a hair


def in_calibration(prompt: str, share: float) -> bool:
    """Whether a training prompt is kept for calibration: by another hash than that of the test prompts."""
    return content_id("calibration", prompt) / _SPAN < share
