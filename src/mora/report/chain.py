"""The page of a folder from its tables alone: which runs it stands on, and which page it has."""

from __future__ import annotations

from pathlib import Path

from mora.errors import InputError
from mora.files import read_object
from mora.regular import sibling
from mora.report.compare import POLICIES, REWARDS, write_comparison, write_reward_comparison
from mora.report.run import write_report

IDENTITY = "identity.json"


def stages_of(folder: Path) -> list[tuple[str, Path]]:
    """The runs beside ``folder`` that it was trained on, and itself last, as (what was trained, in words; folder).

    What identity.json calls upstream and is no folder beside it (a hub id, a path, a run that was deleted) is left out,
    as is everything but the folder itself where there is no identity.json.  Raises ``InputError`` for one that is no
    JSON.
    """
    path = folder / IDENTITY
    upstream = read_object(path).get("upstream", {}) if path.is_file() else {}
    below = [run for name in upstream.values() if (run := sibling(folder, name)) is not None]
    return [(_kind(run), run) for run in (*below, folder) if run.is_dir()]


def _kind(run: Path) -> str:
    return run.name.partition("-")[0].replace("_", " ")


def redraw(folder: Path) -> Path:
    """Write the page of a run or of a comparison anew from its tables; return the page's path.

    Raises ``InputError`` for a folder that holds neither tables nor metrics, and for tables that cannot be read.
    """
    folder = Path(folder).resolve()
    if (folder / POLICIES).is_file():
        return write_comparison(folder)
    if (folder / REWARDS).is_file():
        return write_reward_comparison(folder)
    if not any((folder / "tables").glob("*.json")) and not (folder / "metrics.jsonl").is_file():
        raise InputError(f"{folder} holds no tables; name the folder of a run or of a comparison")
    return write_report(folder, stages_of(folder))
