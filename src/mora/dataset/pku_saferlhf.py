"""`dataset=pku_saferlhf`: PKU-SafeRLHF, pairs labelled for helpfulness and for safety (Ji et al., 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from mora.dataset import schema
from mora.dataset.assemble import assemble
from mora.dataset.corpus import Corpus
from mora.dataset.encode import Overlong
from mora.dataset.hub import hub_commit, hub_note, hub_records
from mora.dataset.read import records
from mora.errors import InputError
from mora.types import Row

COLUMNS = {"helpful": "better_response_id", "safe": "safer_response_id"}
_SAFE = ("is_response_0_safe", "is_response_1_safe")


def row_of(fields: schema.Fields, where: str, columns: Mapping[str, str]) -> Row:
    """A pair; an id that calls an unsafe answer safer than a safe one is a bad row.

    The marks ``is_response_0_safe`` and ``is_response_1_safe`` are ratings of ``safe``: 1 safe, 0 unsafe.
    """
    row = schema.pair(fields, where, columns)
    if "safe" not in columns:
        return row
    marks, label = [_mark(fields, column) for column in _SAFE], row.labels.get("safe")
    if label is not None and marks == [label == 0, label == 1][::-1]:
        reason = f"safer_response_id is {label:.0f}, yet only response {1 - label:.0f} is marked safe"
        raise schema.BadRow(reason)
    if "safe" in row.ratings or all(mark is None for mark in marks):
        return row  # ratings of its own say more than a mark
    safe = tuple(() if mark is None else (float(mark),) for mark in marks)
    return replace(row, ratings={**row.ratings, "safe": safe})


def _mark(fields: schema.Fields, column: str) -> bool | None:
    value = fields.get(column)
    if value is None or isinstance(value, bool):
        return value
    raise schema.BadRow(f"{column!r} must be true, false or null, not {value!r}")


@dataclass(kw_only=True)
class PkuSafeRlhf:
    """`dataset=pku_saferlhf`; the fields are the keys of conf/dataset/pku_saferlhf.yaml.

    Objectives: ``helpful`` (``better_response_id``) and ``safe`` (``safer_response_id``).  From the hub, or from local
    files of the same columns (``path``), without a connection.
    """

    hub: str
    config: str
    revision: str | None
    path: str | None
    test_path: str | None
    test_share: float
    on_bad_row: schema.OnBadRow
    max_prompt: int
    max_response: int
    overlong: Overlong

    def load(self, objectives: tuple[str, ...], seed: int) -> Corpus:
        """The corpus, whatever ``seed``.  Raises InputError about unknown objectives, missing files, bad rows."""
        unknown = [objective for objective in objectives if objective not in COLUMNS]
        if unknown:
            raise InputError(f"objectives.names: {', '.join(unknown)}: pku_saferlhf has {', '.join(COLUMNS)}")
        columns = {objective: COLUMNS[objective] for objective in objectives}
        parse = partial(row_of, columns=columns)
        sieve = schema.Sieve(self.on_bad_row)
        notes = []
        test: list[Row] | None = None
        if self.path is None:
            source, commit = self.hub, hub_commit(self.hub, self.revision)
            notes.append(hub_note(self.hub, commit))
            train = sieve.rows(hub_records(self.hub, config=self.config, split="train", commit=commit), parse)
            seen = list(sieve.columns)
            test = sieve.rows(hub_records(self.hub, config=self.config, split="test", commit=commit), parse)
        else:
            source = f"dataset.path={self.path}"
            train = sieve.rows(records(self.path, "dataset.path"), parse)
            seen = list(sieve.columns)
            if self.test_path is not None:
                test = sieve.rows(records(self.test_path, "dataset.test_path"), parse)
        notes += sieve.close()
        schema.require_labels(train, columns, seen, source)
        return assemble(
            name="pku_saferlhf",
            objectives=tuple(objectives),
            train=train,
            test=test,
            test_share=self.test_share,
            supervised=None,
            max_prompt=self.max_prompt,
            max_response=self.max_response,
            overlong=self.overlong,
            notes=notes,
            quarantine=sieve.rejected,
        )
