"""`dataset=pku_saferlhf`: PKU-SafeRLHF, pairs labelled for helpfulness and for safety (Ji et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from mora.dataset import jsonl, schema
from mora.dataset.pairs import make_pair
from mora.dataset.schema import BadRow, Fields, record_schema
from mora.types import Row

KNOWN = ("better", "safer", "severity")


@record_schema(
    known=KNOWN,
    label="{}_response_id",
    prompt=schema.text,
    response_0=schema.text,
    response_1=schema.text,
    better_response_id=schema.label,
    safer_response_id=schema.label,
    is_response_0_safe=schema.flag,
    is_response_1_safe=schema.flag,
    response_0_severity_level=schema.rating(0, 3),
    response_1_severity_level=schema.rating(0, 3),
)
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A pair; an id that calls an unsafe answer safer than a safe one is a bad row.

    Names are ``better`` and ``safer``, whose ids label pairs, and ``severity``: the answer of the lower
    ``response_k_severity_level`` is the better one.  The marks ``is_response_k_safe`` are ratings of ``safer``: 1 safe,
    0 unsafe.
    """
    row = jsonl.pair(
        values["prompt"], values[""], {objective: name for objective, name in names.items() if name != "severity"}
    )
    for objective, name in names.items():
        if name == "safer":
            row = _with_marks(row, values, objective)
        elif name == "severity":
            row = _with_severity(row, values, objective)
    yield row


def _with_marks(row: Row, values: Fields, objective: str) -> Row:
    """Raises BadRow where the id and the marks contradict each other."""
    marks, label = [values["is_response_0_safe"], values["is_response_1_safe"]], row.labels[objective]
    if label is not None and marks == [label == 0, label == 1][::-1]:
        reason = f"safer_response_id is {label:.0f}, yet only response {1 - label:.0f} is marked safe"
        raise BadRow("contradictory_labels", reason)
    if objective in row.ratings or all(mark is None for mark in marks):
        return row  # ratings of its own say more than a mark
    safe = tuple(() if mark is None else (float(mark),) for mark in marks)
    return replace(row, ratings={**row.ratings, objective: safe})


def _with_severity(row: Row, values: Fields, objective: str) -> Row:
    levels = [values[f"response_{side}_severity_level"] for side in (0, 1)]
    if not all(levels):
        return replace(row, labels={**row.labels, objective: None})
    mild = tuple((-level[0],) for level in levels)
    label = None if mild[0] == mild[1] else float(mild[1] > mild[0])
    severity = make_pair(row.prompt, (row.responses[0], row.responses[1]), {objective: label})
    return replace(row, labels={**row.labels, **severity.labels}, ratings={**row.ratings, objective: mild})
