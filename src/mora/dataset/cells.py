"""Cells of a table without types, as CSV is: a text that may stand for a number, a truth value or a list.

What a cell is, is up to the column that reads it: of an answer ``42`` the text, of a rating the number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from mora.json_text import NotJSON, loads
from mora.limits import NUMBER_DIGITS

TEXTS: tuple[str, ...]  # columns whose cells stay texts where rows are written in a form with types
TEXTS = (
    "prompt",
    "response",
    "response_0",
    "response_1",
    "response_2",
    "chosen",
    "rejected",
    "completion",
    "instruction",
    "input",
)
TEXTS += ("output", "output_1", "output_2", "question", "answer", "best_answer", "subset", "objective")
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
DIGITS = 17  # characters that a number in double precision may need
_TRUTH = {"true": True, "false": False}


class Cell(str):
    """The text of a cell that may stand for ``value``: a number, true or false, or a list or object of JSON."""

    value: Any


def cell(text: str) -> str | None:
    """A cell of a table: null where it is empty, a ``Cell`` where it may be more than its text."""
    value = _value(text)
    if text == "" or value is None:
        return text or None
    made = Cell(text)
    made.value = value
    return made


def _value(text: str) -> Any:
    if _NUMBER.fullmatch(text) and len(text) <= NUMBER_DIGITS:
        whole = text.strip().lstrip("+-").isdigit()
        value = int(text) if whole else float(text)
        return value if math.isfinite(value) else None
    if text.startswith(("[", "{")):
        try:
            return loads(text)
        except NotJSON:
            return None
    return _TRUTH.get(text.strip().lower())


def typed(value: Any) -> Any:
    """What a value is for a column of numbers, truth values or lists: that which a cell stands for, else itself."""
    return value.value if isinstance(value, Cell) else value


def items(value: Any, kind: type) -> Any:
    """The list of ``kind`` (objects, texts) that a cell stands for; what is no such cell is given back as it is."""
    held = typed(value)
    return held if isinstance(held, list) and held and all(isinstance(one, kind) for one in held) else value


def written(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A row for a form with types: cells become what they stand for.

    Those of columns of texts stay texts, and so do numbers that would lose digits, such as an id of ``007``.
    """
    return {name: value if name in TEXTS or _loses(value) else typed(value) for name, value in fields.items()}


def _loses(value: Any) -> bool:
    if not isinstance(value, Cell) or isinstance(value.value, bool) or not isinstance(value.value, int | float):
        return False
    digits = value.strip().lstrip("+-")
    return digits[:1] == "0" and digits[1:2].isdigit() or isinstance(value.value, float) and len(digits) > DIGITS
