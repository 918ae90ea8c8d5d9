"""JSON: as it comes from outside, read strictly and within bounds, and as it is written.

What the standard leaves open, or Python adds to it, is refused: NaN and Infinity, numbers beyond double precision, a
name twice in one object.  A byte-order mark is skipped where a file begins (``decoded``).  Half of a surrogate pair and
the character NUL are JSON; whoever wants a text refuses them (``mora.dataset.schema.text``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from mora.limits import JSON_DEPTH, NUMBER_DIGITS, SHOWN

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(rf"{_STRING}|[\[{{]|[\]}}]", re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")
BOM = b"\xef\xbb\xbf"


class NotJSON(ValueError):
    """Why a text is no JSON; ``line`` and ``column`` count from 1, and are 0 where they are not known."""

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"broken JSON: {reason}" + (f", at column {column}" if column else ""))
        self.line = line


def loads(text: str, *, constants: bool = False) -> Any:
    """The value of a JSON text.  Raises NotJSON with the reason, also for what is nested or written beyond bounds.

    ``constants``: NaN and Infinity are taken, as other libraries write them.
    """
    if text.count("[") + text.count("{") > JSON_DEPTH:
        _check_depth(text)
    try:
        return (_WITH_CONSTANTS if constants else _STRICT).decode(text)
    except json.JSONDecodeError as error:
        raise NotJSON(error.msg, error.lineno, error.colno) from None
    except _Refused as error:
        raise NotJSON(str(error), *_place(text, error.token)) from None


def dumps(content: Any, *, indent: int | None = None) -> str:
    """``content`` as JSON with a line end; NaN and infinity become null.  Raises TypeError for what is not JSON."""
    return json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if content - content == 0.0 else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


def values(text: str) -> Iterator[tuple[int, Any]]:
    """The values of a text that holds one after another, each with the line that it begins on.

    Raises NotJSON as ``loads``.
    """
    _check_depth(text)
    line, place = 1, 0
    while (start := _SPACE.match(text, place).end()) < len(text):  # type: ignore[union-attr]
        line += text.count("\n", place, start)
        try:
            value, place = _STRICT.raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise NotJSON(error.msg, error.lineno, error.colno) from None
        except _Refused as error:
            below, column = _place(text[start:], error.token)
            raise NotJSON(str(error), line + below - 1, column) from None
        yield line, value
        line += text.count("\n", start, place)


def decoded(content: bytes) -> str:
    """The text of a whole file, less a byte-order mark.  Raises NotJSON where it is no UTF-8."""
    try:
        return content.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJSON(f"byte {error.start + 1} is no UTF-8") from None


def _check_depth(text: str) -> None:
    depth = 0
    for found in _TOKEN.finditer(text):
        if text[found.start()] in "[{":
            depth += 1
            if depth > JSON_DEPTH:
                line, column = _line_and_column(text, found.start())
                raise NotJSON(f"more than {JSON_DEPTH} lists and objects within each other", line, column)
        elif text[found.start()] != '"':
            depth -= 1


def _line_and_column(text: str, start: int) -> tuple[int, int]:
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)


def _place(text: str, token: str) -> tuple[int, int]:
    """Line and column of the first ``token`` outside of strings."""
    for found in re.finditer(f"{_STRING}|{re.escape(token)}", text, re.DOTALL):
        if found.group() == token:
            return _line_and_column(text, found.start())
    return 0, 0


class _Refused(ValueError):
    """A part of a JSON text that the decoder hands out and that is not taken."""

    def __init__(self, token: str, reason: str) -> None:
        super().__init__(reason)
        self.token = token


def _integer(digits: str) -> int:
    if len(digits) > NUMBER_DIGITS:
        raise _Refused(digits, f"a number of {len(digits)} digits, more than {NUMBER_DIGITS}")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Refused(digits, f"the number {digits[:SHOWN]} is beyond double precision")
    return value


def _constant(name: str) -> NoReturn:
    raise _Refused(name, f"{name} is no JSON; write null where a number is not known")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(json.dumps(twice), f"the name {twice[:SHOWN]!r} stands twice in one object")
    return made


_BOUNDED: dict[str, Any] = {"parse_int": _integer, "parse_float": _number, "object_pairs_hook": _object}
_STRICT = json.JSONDecoder(parse_constant=_constant, **_BOUNDED)
_WITH_CONSTANTS = json.JSONDecoder(**_BOUNDED)
