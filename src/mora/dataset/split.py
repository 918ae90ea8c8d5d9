"""Train and test, split by conversation: all rows of one are on one side, whatever else the source holds.

Prompts belong to one conversation where they have the same first user turn (``mora.turns.opening``): a dialogue of
which every turn makes a row would else be trained on and tested on.  A prompt of one turn is a conversation by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from mora.turns import opening
from mora.types import content_id

_SPAN = float(1 << 63)


def conversation_id(prompt: str) -> int:
    """The same 63-bit number for all prompts of one conversation; of one turn it is ``Row.prompt_id``."""
    return content_id(opening(prompt))


def point(stream: str, prompt: str) -> float:
    """A number from 0 to 1 by a hash of the prompt's conversation, another one in each ``stream``.

    Other prompts have no say in it.
    """
    return content_id(stream, opening(prompt)) / _SPAN


def in_test(prompt: str, test_share: float) -> bool:
    """Whether a prompt is a test prompt: whether its point lies below ``test_share``."""
    return point("test split", prompt) < test_share


def part(prompt: str, shares: Mapping[str, float]) -> str:
    """The part that a prompt belongs to, by the same hash as ``in_test``; ``shares`` of the parts sum to 1.

    ``test`` comes first along the hash, whatever its place in ``shares``: a prompt is in the part ``test`` just when
    ``in_test`` says so of that share.
    """
    ordered = sorted(shares, key=lambda name: name != "test")  # a stable sort: the others keep their order
    place, bound = point("test split", prompt), 0.0
    for name in ordered:
        bound += shares[name]
        if place < bound:
            return name
    return next(name for name in reversed(ordered) if shares[name] > 0)  # rounding: the sum may miss 1 by a hair


def in_calibration(prompt: str, share: float) -> bool:
    """Whether a training prompt is kept for calibration: by another hash than that of the test prompts."""
    return point("calibration", prompt) < share
