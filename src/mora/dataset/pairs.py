"""Rows of two answers, and the order in which they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mora.dataset.schema import BadRow
from mora.types import Row, content_id


def make_pair(
    prompt: str,
    responses: tuple[str, str],
    labels: Mapping[str, float | None],
    ratings: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] | None = None,
    strengths: Mapping[str, float | None] | None = None,
) -> Row:
    """A pair.  Raises BadRow where two identical responses are labelled."""
    if responses[0] == responses[1] and any(value not in (None, 0.5) for value in labels.values()):
        reason = "the two responses are identical, yet one of them is said to be the better one"
        raise BadRow("identical_responses", reason)
    return Row(
        prompt=prompt,
        responses=responses,
        labels=labels,
        ratings={name: both for name, both in (ratings or {}).items() if any(both)},
        strengths={name: value for name, value in (strengths or {}).items() if value is not None},
    )


def ranked_pair(prompt: str, chosen: str, rejected: str, objectives: Sequence[str]) -> Row:
    """A pair of which ``chosen`` is the better one; which comes first is decided by a hash of the texts alone."""
    if chosen == rejected:
        raise BadRow("identical_responses", "chosen and rejected are identical")
    first, second = hash_ordered(prompt, chosen, rejected)
    return Row(prompt=prompt, responses=(first, second), labels=dict.fromkeys(objectives, float(second == chosen)))


def hash_ordered(prompt: str, one: str, other: str) -> tuple[str, str]:
    """Two answers in an order that only their texts decide, so that a position says nothing."""
    first, second = sorted((one, other))
    return (second, first) if content_id("position", prompt, first, second) & 1 else (first, second)
