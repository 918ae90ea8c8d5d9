"""How a message lists bad rows: those of one reason together, with their number and where the first of them stand."""

from __future__ import annotations

import re
from collections.abc import Iterable

REASONS = 10  # that one message lists
PLACES = 3  # that are named of a reason
_QUOTED = r"""(?<!\w)(?:'[^']*'|"[^"]*")"""  # the name of a column, which stays as it is, but for places in it: x[3]
# of one row: what stood there, and numbers
_PARTICULAR = re.compile(rf"(?P<name>{_QUOTED})|, not .*|(?<!\w)\d+", re.DOTALL)
_PLACE = re.compile(r"\[\d+\]")


def listed(bad: Iterable[tuple[str, str]]) -> list[str]:
    """Lines about bad rows, given as place and reason: each sort of reason once, by its first row."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for where, reason in bad:
        groups.setdefault(_PARTICULAR.sub(_general, reason), []).append((where, reason))
    lines = []
    for rows in list(groups.values())[:REASONS]:
        where, reason = rows[0]
        also = ", ".join(place for place, _ in rows[1:PLACES])
        more = f" ({len(rows)} such rows, also {also}{', ...' if len(rows) > PLACES else ''})" if also else ""
        lines.append(f"  {where}: {reason}{more}")
    rest = list(groups.values())[REASONS:]
    if rest:
        lines.append(f"  ... and {sum(map(len, rest))} more, for {len(rest)} other reasons")
    return lines


def _general(found: re.Match[str]) -> str:
    return _PLACE.sub("[#]", found["name"]) if found["name"] else "#"
