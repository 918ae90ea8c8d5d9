"""`dataset=hummer`: Hummer, pairs for six objectives, each labelled for one of them (Jiang et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mora.dataset import schema
from mora.dataset.assemble import assemble
from mora.dataset.corpus import Corpus
from mora.dataset.encode import Overlong
from mora.dataset.hub import hub_commit, hub_note, hub_records
from mora.dataset.read import Record, records
from mora.errors import InputError
from mora.types import Row, content_id

OBJECTIVES = ("accuracy", "conciseness", "depth", "empathy", "specificity", "tone")


def row_of(fields: schema.Fields, where: str, objective: str) -> Row:
    """A pair from ``prompt, chosen, rejected``; which answer comes first is decided by a hash of the texts alone."""
    prompt, chosen, rejected = (schema.text(fields, column) for column in ("prompt", "chosen", "rejected"))
    if chosen == rejected:
        raise schema.BadRow("chosen and rejected are identical")
    first, second = sorted((chosen, rejected))
    if content_id("position", prompt, first, second) & 1:
        first, second = second, first
    labels = {objective: float(second == chosen)}
    return Row(prompt=prompt, responses=(first, second), labels=labels, where=where)


def merged(rows: Iterable[Row], objectives: tuple[str, ...]) -> list[Row]:
    """One row where the same pair is labelled for several objectives; the others None.

    A second label for the same objective, equal or contrary, stays a row of its own.
    """
    found: dict[tuple[str, ...], list[dict[str, float | None]]] = {}
    places: dict[tuple[str, ...], str] = {}
    for row in rows:
        key = (row.prompt, *row.responses)
        places.setdefault(key, row.where)
        ((objective, label),) = row.labels.items()
        copies = found.setdefault(key, [])
        free = next((labels for labels in copies if labels[objective] is None), None)
        if free is None:
            free = dict.fromkeys(objectives)
            copies.append(free)
        free[objective] = label
    return [
        Row(prompt=key[0], responses=key[1:], labels=labels, where=places[key])
        for key, copies in found.items()
        for labels in copies
    ]


@dataclass(kw_only=True)
class Hummer:
    """`dataset=hummer`; the fields are the keys of conf/dataset/hummer.yaml.

    The objectives are the folders of the source, each with its own pairs.  From the hub, or from a local folder that
    holds those folders (``path``), without a connection.
    """

    hub: str
    revision: str | None
    path: str | None
    test_share: float
    on_bad_row: schema.OnBadRow
    max_prompt: int
    max_response: int
    overlong: Overlong

    def load(self, objectives: tuple[str, ...], seed: int) -> Corpus:
        """The corpus, whatever ``seed``.  Raises InputError about unknown objectives, missing folders, bad rows."""
        unknown = [objective for objective in objectives if objective not in OBJECTIVES]
        if unknown:
            raise InputError(f"objectives.names: {', '.join(unknown)}: hummer has {', '.join(OBJECTIVES)}")
        commit = hub_commit(self.hub, self.revision) if self.path is None else None
        notes = [hub_note(self.hub, commit)] if self.path is None else []
        sieve = schema.Sieve(self.on_bad_row)
        rows = []
        for objective in objectives:
            rows += sieve.rows(self._records(objective, commit), partial(row_of, objective=objective))
        notes += sieve.close()
        columns = {objective: f"{objective}/chosen" for objective in objectives}
        schema.require_labels(rows, columns, sieve.columns, self.path or self.hub)
        train = merged(rows, tuple(objectives))
        if len(train) < len(rows):
            notes.append(f"{len(rows)} labels on {len(train)} pairs: the same pair under several objectives is one row")
        return assemble(
            name="hummer",
            objectives=tuple(objectives),
            train=train,
            test=None,
            test_share=self.test_share,
            supervised=None,
            max_prompt=self.max_prompt,
            max_response=self.max_response,
            overlong=self.overlong,
            notes=notes,
            quarantine=sieve.rejected,
        )

    def _records(self, objective: str, commit: str | None) -> Iterator[Record]:
        if self.path is None:
            return hub_records(self.hub, data_dir=objective, split="train", commit=commit)
        root = Path(self.path).expanduser()
        if not (root / objective).is_dir():
            found = ", ".join(sorted(place.name for place in root.iterdir() if place.is_dir())) if root.is_dir() else ""
            advice = "must hold one folder per objective, each with train.jsonl"
            raise InputError(
                f"dataset.path={self.path}: no folder {objective!r} (there: {found or 'none'}); it {advice}"
            )
        return records(str(root / objective), "dataset.path")
