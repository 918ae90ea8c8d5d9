"""What runs spent, read from their metrics: runs are compared at equal budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mora.errors import reading
from mora.files import read_lines, read_object
from mora.regular import sibling
from mora.runtime.folder import IDENTITY

SUMMED = {
    "generated_tokens": "spent/generated_tokens",
    "trained_tokens": "spent/trained_tokens",
    "forward_passes": "spent/forward_passes",
    "seconds": "time/step",
}
PEAK, PEAK_COLUMN = "peak_memory_gib", "memory/peak"


def spent(run: Path) -> dict[str, float | None]:
    """Tokens, sequences and seconds of a run, each summed over its steps, and its peak of memory in GiB.

    None where a row of metrics.jsonl lacks the column, as in runs of earlier versions, and where there is no row.
    Raises InputError for metrics that cannot be read.
    """
    path = run / "metrics.jsonl"
    rows = read_lines(path) if path.is_file() else []

    def column(name: str) -> list[float] | None:
        values = [float(row[name]) for row in rows if row.get(name) is not None]
        return values if rows and len(values) == len(rows) else None

    found: dict[str, float | None] = {}
    with reading(path, "a list of metrics", "measure the run again"):
        for name, logged in SUMMED.items():
            values = column(logged)
            found[name] = None if values is None else sum(values)
        peaks = column(PEAK_COLUMN)
    return found | {PEAK: None if peaks is None else max(peaks)}


def chain(run: Path) -> list[Path]:
    """The run folders that ``run`` stands on, each once and after those below it; the run itself comes last.

    What identity.json calls upstream is looked for beside the run; what is no run folder there (a hub id, a run that
    was deleted) is left out.  Raises InputError when ``run`` has no identity.json.
    """
    found: list[Path] = []
    _append(run, found)
    return found


def _append(run: Path, found: list[Path]) -> None:
    upstream = read_object(run / IDENTITY).get("upstream", {})
    for name in upstream.values():
        below = sibling(run, name)
        if below is not None and below not in found and (below / IDENTITY).is_file():
            _append(below, found)
    found.append(run)


def missing(run: Path) -> list[str]:
    """What the runs of :func:`chain` stand on and is no run folder beside them: what it cost is not known."""
    upstream = [(one, name) for one in chain(run) for name in read_object(one / IDENTITY).get("upstream", {}).values()]
    return [
        str(name) for one, name in upstream if (below := sibling(one, name)) is None or not (below / IDENTITY).is_file()
    ]


def total(runs: Sequence[Path]) -> dict[str, float | None]:
    """What ``runs`` spent together, as of ``spent``: sums, and the largest peak of memory.

    None where one of them does not say.
    """
    each = [spent(run) for run in runs]
    together: dict[str, float | None] = {}
    for name in (*SUMMED, PEAK):
        values = [value for found in each if (value := found[name]) is not None]
        whole = max(values, default=0.0) if name == PEAK else sum(values, 0.0)
        together[name] = whole if len(values) == len(each) else None
    return together
