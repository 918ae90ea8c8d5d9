"""Files of answers, scored: each row comes back in its place with what the scorer says of its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mora.dataset.bad_rows import listed
from mora.dataset.cells import typed, written
from mora.dataset.encode import beyond
from mora.dataset.paths import files
from mora.dataset.read import records
from mora.dataset.schema import BadRow, any_text
from mora.errors import InputError
from mora.functional import risk
from mora.limits import SHOWN
from mora.manifest import check_file
from mora.reward.hub_scorer import HubScorer
from mora.reward.scorer import ModelScorer, Scorer
from mora.types import Sampled

FORMS = {("response",): ("scores",), ("response_0", "response_1"): ("scores_0", "scores_1")}
ENDED = {"response": "ended", "response_0": "ended_0", "response_1": "ended_1"}  # false: cut off; true where absent


def read_answers(path: Path | str) -> list[dict[str, Any]]:
    """Rows with ``prompt`` and ``response``, or ``prompt``, ``response_0`` and ``response_1``, read as datasets are.

    Raises InputError that lists the rows that cannot be scored with file and line, for a file that differs from the
    manifest of its folder, and where there is no row.
    """
    for file in files(str(path), "input"):
        check_file(file)
    rows, bad = [], []
    for record in records(str(path), "input"):
        problem = record.problem or _problem(record.fields or {})
        if problem:
            bad.append((record.where, problem))
        else:
            rows.append(written(record.fields or {}))
    if bad:
        raise InputError("\n".join([f"input={path}: {len(bad)} rows cannot be scored:", *listed(bad)]))
    return rows


def score_answers(scorer: Scorer, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with ``scores``, or ``scores_0`` and ``scores_1``: of each objective mean, quantiles, members.

    Scores are in standard deviations of the reference policy, or in the model's own unit where nobody measured these.
    An answer whose row says ``ended: false`` (``ended_0``, ``ended_1``), as those of ``samples.jsonl`` do, is scored
    without an end token.  ``quantiles`` ascend at the levels of the reward's kind; ``members`` are the atoms of an
    ensemble's members, member by member.  Null for a reward that has none.
    """
    places = [(row, text, score) for row in rows for text, score in zip(*_form(row), strict=True)]
    ended = Sampled(ended=tuple(_ended(row, text) for row, text, _ in places))
    scored_by = scorer.score if scorer.standardized else scorer.raw
    belief = scored_by([row["prompt"] for row, _, _ in places], [row[text] for row, text, _ in places], ended)
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
            for m, name in enumerate(scorer.objectives)
        }
    return [scored[id(row)] for row in rows]


def cut_texts(scorer: ModelScorer | HubScorer, rows: Sequence[dict[str, Any]]) -> list[str]:
    """What to tell the user about scored answers that did not end, and texts that the scorer read only a part of."""
    ended = [_ended(row, text) for row in rows for text in _form(row)[0]]
    cut = len(ended) - sum(ended)
    said = [f"{cut} of {len(ended)} answers did not end, and were scored without an end token"] if cut else []
    if not scorer.standardized:
        said.append("scores are in the unit of the model, since none was measured on answers of a reference policy")
    if isinstance(scorer, HubScorer):
        return said + scorer.notes()
    answers = [row[text] for row in rows for text in _form(row)[0]]
    return said + beyond(scorer.encoder, [row["prompt"] for row in rows], answers)[1]


def _ended(row: Mapping[str, Any], text: str) -> bool:
    """Whether the answer in the column ``text`` ended; where nothing is said it did."""
    return row.get(ENDED[text]) is not False


def _form(row: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a row's answers and of their scores."""
    (texts,) = _forms(row)
    return texts, FORMS[texts]


def _forms(row: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The columns of answers that a row has; where a table gives it those of both forms, those that are not null."""
    found = [texts for texts in FORMS if all(text in row for text in texts)]
    return [texts for texts in found if any(row[text] is not None for text in texts)] or found


def _problem(row: Mapping[str, Any]) -> str:
    """Why a row cannot be scored, or nothing."""
    forms = _forms(row)
    if "prompt" not in row or len(forms) != 1:
        return f"needs prompt and response, or prompt, response_0 and response_1; it has {', '.join(row)}"
    try:
        for key in ("prompt", *forms[0]):
            any_text(row, key)
    except BadRow as error:
        return str(error)
    for key in (ENDED[text] for text in forms[0]):
        ended = typed(row.get(key))
        if ended is not None and not isinstance(ended, bool):
            return f"{key} says whether the answer ended: true or false, not {json.dumps(ended, default=str)[:SHOWN]}"
    taken = [score for score in FORMS[forms[0]] if score in row]
    return f"has {', '.join(taken)} already; rename or remove them, so that no score is lost" if taken else ""
