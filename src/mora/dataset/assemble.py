"""A corpus from the rows of a source: splits, pairs of scored answers, supervised rows, prompts, notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mora.dataset import derive, overlap, split
from mora.dataset.corpus import SPLITS, Corpus, Splits, fingerprint
from mora.dataset.encode import Overlong
from mora.dataset.pairing import Pairing
from mora.dataset.sieve import Rejected
from mora.errors import InputError
from mora.types import Row

KINDS = ("prompts", "supervised", "scored", "pairs")  # of rows


def assemble(
    *,
    name: str,
    objectives: tuple[str, ...],
    train: Sequence[Row],
    test: Sequence[Row] | None,
    test_share: float,
    supervised: Sequence[Row] | None,
    pairing: Pairing | None,
    max_prompt: int,
    max_response: int,
    overlong: Overlong,
    notes: Iterable[str],
    quarantine: Iterable[Rejected],
    records: Mapping[str, Any],
    commits: Mapping[str, str | None],
) -> Corpus:
    """A corpus from prompts, supervised and scored answers and pairs, and further supervised rows where there are some.

    ``test`` is the source's own test set; None: ``test_share`` of the prompts, by their hash.  Pairs without any label
    give prompts only; scored answers give pairs as ``pairing`` says.  A source with pairs and no supervised rows is
    fine-tuned on the answers that most objectives prefer.  Raises InputError where a split is empty that should not be.
    """
    notes = list(notes)
    rows = _sides(train, test, test_share, notes)
    kinds = {side: _by_kind(rows[side]) for side in SPLITS}
    asked, answers, scored, pairs = ({side: kinds[side][kind] for side in SPLITS} for kind in KINDS)
    if pairing is not None:
        for side in SPLITS:
            made = list(pairing.pairs(scored[side], objectives))
            if scored[side]:
                notes.append(f"{side}: {len(made)} pairs made from {len(scored[side])} scored answers")
            pairs[side] = [*pairs[side], *made]
    if supervised is not None:
        further = split.alongside(supervised, rows, test_share)
        answers = {side: [*answers[side], *further[side]] for side in SPLITS}
    prompts = {side: _prompts([*asked[side], *pairs[side], *scored[side]] or answers[side]) for side in SPLITS}
    if not any(answers.values()) and supervised is None:
        answers = _derived(pairs, notes)
    unlabelled = sum(len(of) for of in pairs.values())
    pairs = {side: [row for row in of if _labelled(row)] for side, of in pairs.items()}
    unlabelled -= sum(len(of) for of in pairs.values())
    if unlabelled:
        notes.append(f"{unlabelled} pairs have neither label nor rating on any objective: only their prompts are used")
    corpus = Corpus(
        name=name,
        objectives=objectives,
        supervised=answers,
        pairs=pairs,
        prompts=prompts,
        scored=scored,
        fingerprint=fingerprint(objectives, answers, pairs, prompts, scored),
        max_prompt=max_prompt,
        max_response=max_response,
        overlong=overlong,
        notes=notes,
        quarantine=list(quarantine),
        records=records,
        commits=commits,
    )
    corpus.notes += overlap.notes(overlap.within(corpus))
    return corpus


def _sides(train: Sequence[Row], test: Sequence[Row] | None, test_share: float, notes: list[str]) -> Splits:
    if not 0 <= test_share < 1:
        raise InputError(f"dataset.test_share={test_share}: must be at least 0 and less than 1")
    if test is None:
        rows = split.by_hash(train, test_share)
    else:
        rows, left_out = split.published(train, test)
        if left_out:
            notes.append(f"{left_out} training rows left out: their prompts are in the test set")
    count = len({row.prompt for row in train})
    if not rows["train"]:
        raise InputError(
            f"no training row is left of {count} prompts: lower dataset.test_share={test_share}, or give more rows"
        )
    if not rows["test"] and (test is not None or test_share > 0):
        advice = "raise it, give dataset.test_path, or set it to 0 to go without a test set"
        raise InputError(f"no test prompt among {count} with dataset.test_share={test_share}: {advice}")
    return rows


def _by_kind(rows: Iterable[Row]) -> dict[str, list[Row]]:
    kinds: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for row in rows:
        kind = ("prompts", "scored" if row.ratings else "supervised", "pairs")[len(row.responses)]
        kinds[kind].append(row)
    return kinds


def _derived(pairs: Splits, notes: list[str]) -> Splits:
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
