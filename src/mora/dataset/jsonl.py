"""`dataset=jsonl`: pairs, and supervised rows if you have them, from files of your own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from mora.dataset import schema
from mora.dataset.assemble import assemble
from mora.dataset.corpus import Corpus
from mora.dataset.encode import Overlong
from mora.dataset.read import records
from mora.errors import InputError


def label_columns(objectives: tuple[str, ...]) -> dict[str, str]:
    """The column with the id of the better answer per objective: ``<objective>_response_id``."""
    return {objective: f"{objective}_response_id" for objective in objectives}


@dataclass(kw_only=True)
class JsonLines:
    """`dataset=jsonl`; the fields are the keys of conf/dataset/jsonl.yaml.

    Pairs: ``prompt, response_0, response_1`` and an ``<objective>_response_id`` (0, 1 or null) per objective; an
    absent id is null; where they are known, ``<objective>_rating_0`` and ``_rating_1`` (a number or a list each) and
    ``<objective>_strength``.  Supervised rows: ``prompt, response``.  Other columns are ignored.
    """

    path: str | None
    test_path: str | None
    test_share: float
    supervised_path: str | None
    on_bad_row: schema.OnBadRow
    max_prompt: int
    max_response: int
    overlong: Overlong

    def load(self, objectives: tuple[str, ...], seed: int) -> Corpus:
        """The corpus, whatever ``seed``.  Raises InputError about missing files, bad rows, unlabelled objectives."""
        if self.path is None:
            raise InputError("dataset.path is not set: name a file, a folder or a glob pattern of files with pairs")
        columns = label_columns(tuple(objectives))
        parse = partial(schema.pair, columns=columns)
        sieve = schema.Sieve(self.on_bad_row)
        train = sieve.rows(records(self.path, "dataset.path"), parse)
        seen = list(sieve.columns)
        test = None if self.test_path is None else sieve.rows(records(self.test_path, "dataset.test_path"), parse)
        supervised = None
        if self.supervised_path is not None:
            supervised = sieve.rows(records(self.supervised_path, "dataset.supervised_path"), schema.supervised)
        notes = sieve.close()
        schema.require_labels(train, columns, seen, f"dataset.path={self.path}")
        return assemble(
            name="jsonl",
            objectives=tuple(objectives),
            train=train,
            test=test,
            test_share=self.test_share,
            supervised=supervised,
            max_prompt=self.max_prompt,
            max_response=self.max_response,
            overlong=self.overlong,
            notes=notes,
            quarantine=sieve.rejected,
        )
