"""Several runs of ``mora.train`` at a time, one thread each: what the reward benchmarks share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mora
from mora.run.plan import plan


def arguments(defaults: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Settings of the benchmark, ``defaults`` where none is given, and the overrides for all runs."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    own = {key: named.pop(key, value) for key, value in defaults.items()}
    return own, [f"{key}={value}" for key, value in named.items()]


def run_all(commands: Iterable[Sequence[str]], jobs: int) -> None:
    """Make every run that is not finished; runs that need one another wait for it by its lock."""

    def run(command: Sequence[str]) -> None:
        threads = {"OMP_NUM_THREADS": "1"} if jobs > 1 else {}
        subprocess.run(
            [sys.executable, "-m", "mora.train", *command], check=True, stdout=sys.stderr, env=os.environ | threads
        )

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, commands))


def table(command: Sequence[str], name: str) -> Any:
    """``tables/NAME.json`` of the run that the command makes."""
    path = plan(mora.compose(*command), command)[-1].path / "tables" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))
