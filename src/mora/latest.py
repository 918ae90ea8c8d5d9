"""Which run a name means: a folder, a name below the folder of all runs, or ``latest``, the one that finished last."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from mora.errors import InputError
from mora.files import read_object

WORD, FINISHED_AT = "latest", "finished_at"
IDENTITY = "identity.json"  # what makes a folder a run
_MOVED_ASIDE = re.compile(r"\.before-\d+$")  # what runtime.fresh=true leaves of an earlier run


def find_latest(given: str, root: Path | str) -> Path | None:
    """The folder that ``latest`` or ``latest:ALGORITHM`` names below ``root``; None when ``given`` is another name.

    Counted are finished runs of algorithms: no comparison, nothing that was moved aside.  Of two that finished at the
    same time the last by name is taken.  Raises InputError when no such run is there, or none notes its time.
    """
    word, _, wanted = given.partition(":")
    if word != WORD:
        return None
    if given == f"{WORD}:":
        raise InputError(f"run={given}: write {WORD}, or {WORD}:ALGORITHM as in {WORD}:reward_model")
    finished = list(_finished(Path(root)))
    runs = [run for run in finished if wanted in ("", run[0])]
    if not runs:
        there = ", ".join(sorted({algorithm for algorithm, *_ in finished})) or "none"
        raise InputError(f"run={given}: {root} holds no such finished run (finished ones of: {there}); train one first")
    timed = [(time, path.name, path) for _, time, path in runs if time is not None]
    if not timed:
        raise InputError(
            f"run={given}: the {len(runs)} finished runs below {root} are of an earlier version, which noted no time; "
            "name one"
        )
    return max(timed)[-1]


def find_run(given: Path | str, root: Path | str, key: str = "run") -> Path:
    """The folder of the run that ``given`` names, as a path, as a name below ``root``, or as ``latest``.

    Raises InputError with the nearest runs when there is none; ``key`` names the setting that it is from.
    """
    if not str(given).strip():
        raise InputError(f"{key} is empty; name a run folder, or a run below paths.runs")
    newest = find_latest(str(given), root)
    candidates = [newest] if newest is not None else [Path(given), Path(root) / given]
    found = next((candidate for candidate in candidates if candidate.is_dir()), None)
    if found is None:
        raise InputError(
            f"{key}={given}: there is no such run, neither as a path nor below {root}; {nearest(given, root)}"
        )
    return found


def nearest(given: Path | str, root: Path | str) -> str:
    """What to say of the runs below ``root`` whose names are most like ``given``."""
    names = [p.name for p in Path(root).iterdir() if (p / IDENTITY).is_file()] if Path(root).is_dir() else []
    near = difflib.get_close_matches(Path(given).name, names, n=3, cutoff=0.3)
    return f"nearest: {', '.join(near or sorted(names)[:3])}" if names else f"{root} holds no run; train one first"


def _finished(root: Path) -> Iterator[tuple[str, datetime | None, Path]]:
    """Algorithm, time and folder of every finished run below ``root``."""
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        status, identity = folder / "status.json", folder / IDENTITY
        if _MOVED_ASIDE.search(folder.name) or not (status.is_file() and identity.is_file()):
            continue
        state, section = read_object(status, ["state"]), read_object(identity).get("algo")
        if state["state"] == "finished" and isinstance(section, dict) and isinstance(section.get("name"), str):
            yield section["name"], _time(state, status), folder


def _time(state: dict[str, Any], path: Path) -> datetime | None:
    noted = state.get(FINISHED_AT)
    if noted is None:
        return None
    try:
        time = datetime.fromisoformat(noted)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise InputError(f"{path}: {FINISHED_AT}={noted!r} is no time with a zone; repair it, or name the run")
    return time
