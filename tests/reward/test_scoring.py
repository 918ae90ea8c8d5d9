from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from mora.dataset.write import writing
from mora.errors import InputError
from mora.files import record_lines
from mora.functional import risk
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar
from mora.reward.scorer import ModelScorer
from mora.reward.scoring import read_answers, score_answers

MakeScorer = Callable[..., ModelScorer]
Texts = tuple[list[str], list[str]]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def standardized(make_scorer: MakeScorer, texts: Texts, kind: Any) -> ModelScorer:
    scorer = make_scorer(kind)
    scorer.standardize(*texts, provenance={})
    return scorer


def test_rows_come_back_in_order_with_their_scores(make_scorer: MakeScorer, texts: Texts, tmp_path: Path) -> None:
    scorer = standardized(
        make_scorer, texts, Quantile(atoms=5, at=None, coupling="independent", initial_gap=0.1, centering=0.0)
    )
    given = [
        {"prompt": "a b", "response": "c d e f g", "id": 7},
        {"prompt": "a", "response_0": "b", "response_1": "c c"},
        {"prompt": "h", "response": "i"},
    ]
    rows = read_answers(write(tmp_path / "in.jsonl", json.dumps(given[0]), "", *map(json.dumps, given[1:]), ""))
    assert rows == given
    scored = score_answers(scorer, rows)
    assert [set(row) - set(one) for row, one in zip(scored, given, strict=True)] == [
        {"scores"},
        {"scores_0", "scores_1"},
        {"scores"},
    ]
    assert scored[0]["id"] == 7
    for row, name, prompt, response in [
        (scored[0], "scores", "a b", "c d e f g"),
        (scored[1], "scores_0", "a", "b"),
        (scored[1], "scores_1", "a", "c c"),
        (scored[2], "scores", "h", "i"),
    ]:
        belief = scorer.score([prompt], [response])
        for m, objective in enumerate(("many_a", "many_b")):
            assert row[name][objective]["mean"] == pytest.approx(risk.mean(belief)[0, m].item(), abs=1e-4)
            assert row[name][objective]["quantiles"] == pytest.approx(belief.atoms[0, m].tolist(), abs=1e-4)


def test_a_scalar_reward_has_no_quantiles(make_scorer: MakeScorer, texts: Texts) -> None:
    scorer = standardized(make_scorer, texts, Scalar(strength="ignore", margin=0.0, centering=0.0, l2=0.0))
    scored = score_answers(scorer, [{"prompt": "a", "response": "b"}])
    assert scored[0]["scores"]["many_a"]["quantiles"] is None


GOOD = '{"prompt": "a", "response": "b"}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((GOOD, "{"), r"in\.jsonl:2: broken JSON"),
        ((GOOD, "", '["a"]'), r"in\.jsonl:3: must be a JSON object"),
        (('{"response": "b"}',), r"in\.jsonl:1: needs prompt"),
        (('{"prompt": "a", "response_0": "b"}',), "it has prompt, response_0"),
        (('{"prompt": "a", "response": "b", "response_0": "b", "response_1": "c"}',), "needs prompt and response, or"),
        (('{"prompt": "a", "response": null}',), "'response' must be a text, not None"),
        (('{"prompt": "a", "response": "b", "scores": {}}',), "has scores already"),
        (("", " "), "empty, no record"),
    ],
)
def test_bad_rows_are_refused_with_file_and_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_answers(write(tmp_path / "in.jsonl", *lines))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_answers(tmp_path / "none.jsonl")


ANSWERS = [
    {"prompt": "a", "response": "42", "ended": False, "id": 7},
    {"prompt": "b\u2028", "response": "é", "ended": True, "id": 8},
]


@pytest.mark.parametrize("name", ["a.jsonl", "bom.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz", "[1]*.jsonl"])
def test_answers_are_read_as_datasets_are(tmp_path: Path, name: str) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ANSWERS)
    table = "prompt,response,ended,id\r\na,42,False,7\r\nb\u2028,é,True,8\r\n"
    content = {
        "bom.jsonl": b"\xef\xbb\xbf" + lines.encode(),
        "a.json": json.dumps(ANSWERS, indent=1).encode(),
        "a.csv": table.encode(),
        "a.jsonl.gz": gzip.compress(lines.encode(), mtime=0),
    }.get(name, lines.encode())
    (tmp_path / name).write_bytes(content)
    if name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ANSWERS), tmp_path / name)
    assert read_answers(tmp_path / name) == ANSWERS
    assert read_answers(tmp_path) == ANSWERS


def test_a_table_of_both_forms_has_nulls(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "response": "b", "response_0": None, "response_1": None},
        {"prompt": "a", "response": None, "response_0": "b", "response_1": "c"},
    ]
    assert read_answers(write(tmp_path / "in.jsonl", *map(json.dumps, rows))) == rows
    with pytest.raises(InputError, match="needs prompt and response, or"):
        read_answers(write(tmp_path / "in.jsonl", json.dumps(rows[0] | rows[1] | {"response": "b"})))


def test_a_file_that_differs_from_the_manifest_beside_it_is_not_scored(tmp_path: Path) -> None:
    record_lines(tmp_path / "samples.jsonl", ANSWERS)
    assert read_answers(tmp_path / "samples.jsonl") == ANSWERS
    write(tmp_path / "samples.jsonl", GOOD)
    with pytest.raises(InputError, match="damaged"):
        read_answers(tmp_path / "samples.jsonl")


def test_scores_are_written_beside_what_no_file_of_text_holds(tmp_path: Path) -> None:
    row = {"prompt": "a", "response": "b", "note": "half of a pair \ud83d"}
    rows = read_answers(write(tmp_path / "in.jsonl", json.dumps(row)))
    with writing(tmp_path / "out.jsonl", "output") as put:
        put(rows[0])
    assert read_answers(tmp_path / "out.jsonl") == [row]
