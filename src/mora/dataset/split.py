"""Train and test, split by prompt: all rows of a prompt are on one side, whatever else the source holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mora.types import Row, content_id

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


def by_hash(rows: Iterable[Row], test_share: float) -> dict[str, list[Row]]:
    """Rows split by the hash of their prompt."""
    splits: dict[str, list[Row]] = {"train": [], "test": []}
    for row in rows:
        splits["test" if in_test(row.prompt, test_share) else "train"].append(row)
    return splits


def published(train: Iterable[Row], test: Sequence[Row]) -> tuple[dict[str, list[Row]], int]:
    """The source's own split, train without the rows whose prompt is in test; and how many those were."""
    held_out = {row.prompt for row in test}
    rows = list(train)
    kept = [row for row in rows if row.prompt not in held_out]
    return {"train": kept, "test": list(test)}, len(rows) - len(kept)


def alongside(rows: Iterable[Row], pairs: dict[str, list[Row]], test_share: float) -> dict[str, list[Row]]:
    """Further rows split as ``pairs`` are; a prompt that has no pair goes by its hash."""
    side = {row.prompt: split for split in ("train", "test") for row in pairs[split]}
    splits: dict[str, list[Row]] = {"train": [], "test": []}
    for row in rows:
        splits[side.get(row.prompt) or ("test" if in_test(row.prompt, test_share) else "train")].append(row)
    return splits
