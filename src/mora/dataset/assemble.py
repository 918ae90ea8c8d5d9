"""A corpus from the rows of a source: splits, supervised rows, prompts, and what to tell the user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mora.dataset import derive, split
from mora.dataset.corpus import SPLITS, Corpus, Rejected, Splits, fingerprint
from mora.dataset.encode import Overlong
from mora.errors import InputError
from mora.types import Row


def assemble(
    *,
    name: str,
    objectives: tuple[str, ...],
    train: Sequence[Row],
    test: Sequence[Row] | None,
    test_share: float,
    supervised: Sequence[Row] | None,
    max_prompt: int,
    max_response: int,
    overlong: Overlong,
    notes: Iterable[str],
    quarantine: Iterable[Rejected],
) -> Corpus:
    """A corpus from pairs and, where the source has them, supervised rows.

    ``test`` is the source's own test set; None: ``test_share`` of the prompts, by their hash.  Pairs without
    any label give prompts only.  Raises InputError where a split is empty that should not be.
    """
    notes = list(notes)
    pairs = _split_pairs(train, test, test_share, notes)
    prompts = {side: _prompts(pairs[side]) for side in SPLITS}
    side_rows = _supervised(pairs, supervised, test_share, notes)
    unlabelled = sum(len(rows) for rows in pairs.values())
    pairs = {side: [row for row in rows if _labelled(row)] for side, rows in pairs.items()}
    unlabelled -= sum(len(rows) for rows in pairs.values())
    if unlabelled:
        notes.append(f"{unlabelled} pairs have neither label nor rating on any objective: only their prompts are used")
    return Corpus(
        name=name,
        objectives=objectives,
        supervised=side_rows,
        pairs=pairs,
        prompts=prompts,
        fingerprint=fingerprint(objectives, side_rows, pairs, prompts),
        max_prompt=max_prompt,
        max_response=max_response,
        overlong=overlong,
        notes=notes,
        quarantine=list(quarantine),
    )


def _split_pairs(train: Sequence[Row], test: Sequence[Row] | None, test_share: float, notes: list[str]) -> Splits:
    if not 0 <= test_share < 1:
        raise InputError(f"dataset.test_share={test_share}: must be at least 0 and less than 1")
    if test is None:
        pairs = split.by_hash(train, test_share)
    else:
        pairs, left_out = split.published(train, test)
        if left_out:
            notes.append(f"{left_out} training pairs left out: their prompts are in the test set")
    count = len({row.prompt for row in train})
    if not pairs["train"]:
        raise InputError(
            f"no training pair is left of {count} prompts: lower dataset.test_share={test_share}, or give more rows"
        )
    if not pairs["test"] and (test is not None or test_share > 0):
        advice = "raise it, give dataset.test_path, or set it to 0 to go without a test set"
        raise InputError(f"no test prompt among {count} with dataset.test_share={test_share}: {advice}")
    return pairs


def _supervised(pairs: Splits, rows: Sequence[Row] | None, test_share: float, notes: list[str]) -> Splits:
    if rows is not None:
        return split.alongside(rows, pairs, test_share)
    derived: Splits = {}
    for side in SPLITS:
        derived[side], ties, repeats = derive.from_pairs(pairs[side])
        if pairs[side]:
            left_out = f"{ties} pairs without one left out, {repeats} repeats"
            made = f"{len(derived[side])} supervised rows made from {len(pairs[side])} pairs"
            notes.append(f"{side}: {made}: the answer that most objectives prefer ({left_out})")
    return derived


def _prompts(rows: Iterable[Row]) -> list[Row]:
    """Each prompt once, in order of first appearance."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.prompt, Row(prompt=row.prompt, where=row.where))
    return list(first.values())


def _labelled(row: Row) -> bool:
    return any(value is not None for value in row.labels.values()) or any(map(any, row.ratings.values()))
