from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mora.errors import InputError
from mora.functional import risk
from mora.reward.panel import ModelPanel
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar
from mora.reward.scoring import read_answers, score_answers

MakePanel = Callable[..., ModelPanel]
Texts = tuple[list[str], list[str]]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def standardized(make_panel: MakePanel, texts: Texts, kind: Any) -> ModelPanel:
    panel = make_panel(kind)
    panel.standardize(*texts, provenance={})
    return panel


def test_rows_come_back_in_order_with_their_scores(make_panel: MakePanel, texts: Texts, tmp_path: Path) -> None:
    panel = standardized(
        make_panel, texts, Quantile(atoms=5, at=None, coupling="independent", initial_gap=0.1, centering=0.0)
    )
    given = [
        {"prompt": "a b", "response": "c d e f g", "id": 7},
        {"prompt": "a", "response_0": "b", "response_1": "c c"},
        {"prompt": "h", "response": "i"},
    ]
    rows = read_answers(write(tmp_path / "in.jsonl", json.dumps(given[0]), "", *map(json.dumps, given[1:]), ""))
    assert rows == given
    scored = score_answers(panel, rows)
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
        belief = panel.score([prompt], [response])
        for m, objective in enumerate(("many_a", "many_b")):
            assert row[name][objective]["mean"] == pytest.approx(risk.mean(belief)[0, m].item(), abs=1e-4)
            assert row[name][objective]["quantiles"] == pytest.approx(belief.atoms[0, m].tolist(), abs=1e-4)


def test_a_scalar_reward_has_no_quantiles(make_panel: MakePanel, texts: Texts) -> None:
    panel = standardized(make_panel, texts, Scalar(strength="ignore", margin=0.0, centering=0.0, l2=0.0))
    scored = score_answers(panel, [{"prompt": "a", "response": "b"}])
    assert scored[0]["scores"]["many_a"]["quantiles"] is None


GOOD = '{"prompt": "a", "response": "b"}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((GOOD, "{"), r"in\.jsonl:2 is not JSON"),
        ((GOOD, "", '["a"]'), r"in\.jsonl:3: a row is a JSON object"),
        (('{"response": "b"}',), r"in\.jsonl:1: needs prompt"),
        (('{"prompt": "a", "response_0": "b"}',), "it has prompt, response_0"),
        (('{"prompt": "a", "response": "b", "response_0": "b", "response_1": "c"}',), "needs prompt and response, or"),
        (('{"prompt": "a", "response": null}',), "'response' must be a text, not None"),
        (('{"prompt": "a", "response": "b", "scores": {}}',), "has scores already"),
        (("", " "), "holds no row"),
    ],
)
def test_bad_rows_are_refused_with_file_and_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_answers(write(tmp_path / "in.jsonl", *lines))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_answers(tmp_path / "none.jsonl")
