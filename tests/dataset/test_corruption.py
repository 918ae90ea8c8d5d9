"""Each declared column of each source removed, null, of a wrong type, empty, out of range, contradictory."""

from __future__ import annotations

import json
from functools import cache

import pytest
from tests.dataset.examples import own_objectives, put, source
from tests.dataset.published import EXAMPLES

from mora.dataset.schema import RecordSchema
from mora.settings.compose import compose
from mora.settings.tree import conf_dir

MIXTURES = {"mixture", "hh_truthfulqa"}  # of sources that are in the table
CASES = [
    pytest.param(name, {place: value}, kind, id=f"{name}-{place}-{number}")
    for name, example in EXAMPLES.items()
    for place, wrong in example.columns.items()
    for number, (value, kind) in enumerate(wrong)
] + [
    pytest.param(name, change, kind, id=f"{name}-contradiction-{number}")
    for name, example in EXAMPLES.items()
    for number, (change, kind) in enumerate(example.contradictions)
]


def _load(folder, name, records):
    example = EXAMPLES[name]
    place = folder / (example.folder or "") / "train.jsonl"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(record) + "\n" for record in records))
    objectives = example.objectives or own_objectives(name)
    keys = {"path": str(place), "on_bad_row": "quarantine"} | example.keys
    if example.folder is not None:
        keys["subsets"] = [example.folder]
    return source(name, **keys).load(objectives, 0)


def _is_json(record):
    """Whether JSON can say it: NaN and infinity are no JSON, and a line with one is broken, whatever its column."""
    try:
        return bool(json.dumps(record, allow_nan=False))
    except ValueError:
        return False


@cache
def _good(folder, name):
    return _load(folder, name, EXAMPLES[name].records)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("corruption")


def test_every_source_is_in_the_table():
    known = {path.stem for path in (conf_dir() / "dataset").glob("*.yaml")}
    targets = {name: compose("train", [f"dataset={name}"], complete=False).dataset._target_ for name in known}
    synthetic = {name for name, target in targets.items() if target.startswith("mora.dataset.worlds.")}
    assert known - synthetic - MIXTURES == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_declared_column_is_made_wrong(name):
    read = source(name, path="x").read
    schema = getattr(read, "func", read)
    assert isinstance(schema, RecordSchema)
    assert set(schema.columns) - {"subset"} <= set(EXAMPLES[name].columns)


@pytest.mark.parametrize("name", EXAMPLES)
def test_good_records_become_these_rows(folder, name):
    corpus, example = _good(folder, name), EXAMPLES[name]
    kinds = (corpus.pairs, corpus.scored, corpus.supervised, corpus.prompts)
    assert (*(len(kind["train"]) for kind in kinds), corpus.records["without_row"]) == example.rows
    assert corpus.records["read"] == corpus.records["used"] == len(example.records) and corpus.quarantine == []


@pytest.mark.parametrize(("name", "change", "kind"), CASES)
def test_a_bad_record_is_set_aside_with_its_kind_and_nothing_else_is_lost(folder, tmp_path, name, change, kind):
    good = EXAMPLES[name].records
    bad = good[0]
    for place, value in change.items():
        bad = put(bad, place, value)
    kind = kind if _is_json(bad) else "broken_record"
    corpus = _load(tmp_path, name, [*good[:1], bad, *good[1:]])
    read, used, aside = (corpus.records[key] for key in ("read", "used", "set_aside"))
    assert read == used + aside == len(good) + 1
    if kind is None:
        assert corpus.quarantine == []
        return
    (rejected,) = corpus.quarantine
    assert (rejected.kind, rejected.where.split(":")[-1]) == (kind, "2"), rejected.reason
    assert corpus.records["reasons"] == {kind: 1}
    assert corpus.fingerprint == _good(folder, name).fingerprint
    assert corpus.records["without_row"] == EXAMPLES[name].rows[-1]
