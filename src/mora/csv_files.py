"""Tables as CSV files, in which no spreadsheet finds a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mora.files import write_text

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take a formula by


def write_csv(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as comma-separated values under a head line, atomically; None is an empty field.

    A text that a spreadsheet would run as a formula gets an apostrophe before it (``inert``).
    Raises ``ValueError`` for a row with other keys than the first, and writes an empty file when there is no row.
    """
    names: list[str] | None = None
    lines = []
    for row in rows:
        if names is None:
            names = list(row)
            lines.append(_csv_line(names))
        if set(row) != set(names):
            raise ValueError(f"a row has the keys {sorted(row)}, the first one {sorted(names)}")
        lines.append(_csv_line([row[name] for name in names]))
    write_text(path, "".join(lines))


def _csv_line(cells: Sequence[Any]) -> str:
    cells = [inert(cell) for cell in cells]
    returns = any(isinstance(cell, str) and "\r" in cell for cell in cells)  # the csv module leaves these unquoted
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL).writerow(cells)
    return stream.getvalue()


def inert(cell: Any) -> Any:
    """A cell of a table that no spreadsheet runs: a text that begins as a formula does is marked as a text.

    Numbers stay numbers, also those that are written out, such as ``-1.5``.
    """
    if not isinstance(cell, str) or not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
