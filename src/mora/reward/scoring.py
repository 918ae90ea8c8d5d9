"""Files of answers, scored: each row comes back in its place with what the panel says of its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mora.dataset.encode import beyond
from mora.dataset.schema import BadRow, any_text
from mora.errors import InputError
from mora.files import numbered_lines
from mora.functional import risk
from mora.limits import SHOWN
from mora.reward.hub_panel import HubPanel
from mora.reward.panel import ModelPanel, Panel
from mora.types import Sampled

FORMS = {("response",): ("scores",), ("response_0", "response_1"): ("scores_0", "scores_1")}
ENDED = {"response": "ended", "response_0": "ended_0", "response_1": "ended_1"}  # false: cut off; true where absent


def read_answers(path: Path | str) -> list[dict[str, Any]]:
    """Rows with ``prompt`` and ``response``, or ``prompt``, ``response_0`` and ``response_1``; blank lines are skipped.

    Raises InputError with file and line for a row that cannot be scored, and for a file without rows.
    """
    rows = [_row(value, f"{path}:{number}") for number, value in numbered_lines(path)]
    if not rows:
        raise InputError(f"input={path}: holds no row; it needs one JSON object per line")
    return rows


def score_answers(panel: Panel, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with ``scores``, or ``scores_0`` and ``scores_1``: of each objective mean, quantiles, members.

    Scores are in standard deviations of the reference policy.  An answer whose row says ``ended: false`` (``ended_0``,
    ``ended_1``), as those of ``samples.jsonl`` do, is scored without an end token.  ``quantiles`` ascend at the levels
    of the reward's kind; ``members`` are the atoms of an ensemble's members, member by member.  Null for a reward that
    has none.
    """
    places = [(row, text, score) for row in rows for text, score in zip(*_form(row), strict=True)]
    ended = Sampled(ended=tuple(row.get(ENDED[text], True) for row, text, _ in places))
    belief = panel.score([row["prompt"] for row, _, _ in places], [row[text] for row, text, _ in places], ended)
    means = risk.mean(belief).tolist()
    atoms = belief.atoms.tolist()
    scored: dict[int, dict[str, Any]] = {id(row): dict(row) for row in rows}
    for index, (row, _, score) in enumerate(places):
        scored[id(row)][score] = {
            name: {
                "mean": means[index][m],
                "quantiles": atoms[index][m] if belief.kind == "quantile" else None,
                "members": atoms[index][m] if belief.kind == "member" else None,
            }
            for m, name in enumerate(panel.objectives)
        }
    return [scored[id(row)] for row in rows]


def cut_texts(panel: ModelPanel | HubPanel, rows: Sequence[dict[str, Any]]) -> list[str]:
    """What to tell the user about scored answers that did not end, and texts that the panel read only a part of."""
    ended = [row.get(ENDED[text], True) for row in rows for text in _form(row)[0]]
    cut = len(ended) - sum(ended)
    said = [f"{cut} of {len(ended)} answers did not end, and were scored without an end token"] if cut else []
    if isinstance(panel, HubPanel):
        return said + panel.notes()
    answers = [row[text] for row in rows for text in _form(row)[0]]
    return said + beyond(panel.encoder, [row["prompt"] for row in rows], answers)[1]


def _form(row: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a row's answers and of their scores."""
    return next((texts, scores) for texts, scores in FORMS.items() if all(text in row for text in texts))


def _row(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InputError(f"{where}: a row is a JSON object with prompt and response, not {json.dumps(row)[:SHOWN]}")
    forms = [texts for texts in FORMS if all(text in row for text in texts)]
    if "prompt" not in row or len(forms) != 1:
        raise InputError(
            f"{where}: needs prompt and response, or prompt, response_0 and response_1; it has {', '.join(row)}"
        )
    for key in ("prompt", *forms[0]):
        try:
            any_text(row, key)
        except BadRow as error:
            raise InputError(f"{where}: {error}") from None
    for key in (ENDED[text] for text in forms[0]):
        if not isinstance(row.get(key, True), bool):
            raise InputError(
                f"{where}: {key} says whether the answer ended: true or false, not {json.dumps(row[key])[:60]}"
            )
    taken = [score for score in FORMS[forms[0]] if score in row]
    if taken:
        raise InputError(f"{where}: has {', '.join(taken)} already; rename or remove them, so that no score is lost")
    return row
