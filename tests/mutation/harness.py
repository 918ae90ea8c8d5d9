"""Plants faults in copies of the package, one at a time, and runs tests against each copy.

The parent imports what is large and no part of the package, then forks a child for each copy: a child has its copy
first on the path (its own and that of processes it starts) and runs pytest in itself.  Nothing in the checkout changes.
"""

from __future__ import annotations

import compileall
import gc
import importlib
import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tests.mutation.fault import PACKAGE, ROOT, Fault

HEAVY = (
    "torch",
    "transformers",
    "transformers.models.llama.modeling_llama",
    "accelerate",
    "datasets",
    "scipy.stats",
    "sklearn.metrics",
    "pymoo.indicators.hv",
    "hydra.utils",
    "jaxtyping",
    "beartype",
    "pytest",
    "hypothesis",
)
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",  # a device that was looked at cannot be used after a fork
}
TEST_LIMIT = 60  # seconds of one test
RUN_LIMIT = 300  # seconds of one child


@dataclass(frozen=True, kw_only=True)
class Task:
    """Tests to be run on one copy of the package, with a fault or without."""

    fault: Fault | None
    tests: tuple[str, ...]
    options: tuple[str, ...] = ("-x",)


@dataclass(kw_only=True)
class Result:
    """What pytest said in a child.  A failure is (node id, phase, processor seconds with setup, line of the error)."""

    passed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str, float, str]] = field(default_factory=list)
    problem: str = ""  # why this run says nothing about the fault

    @property
    def verdict(self) -> str:
        """``caught`` by a failing test, ``setup`` or ``timeout`` (which count), ``survived``, or ``broken``."""
        if self.problem:
            return "broken"
        if not self.failed:
            return "survived"
        _, phase, _, error = self.failed[0]
        return "timeout" if "Timeout (>" in error else "caught" if phase == "call" else "setup"


def preload() -> None:
    """Import the large packages, once for all children.  Raises RuntimeError where a fork would not be safe."""
    os.environ.update(ENVIRONMENT)
    for name in HEAVY:
        importlib.import_module(name)
    for plugin in entry_points(group="pytest11"):
        plugin.load()
    if "mora" in sys.modules:
        raise RuntimeError("the package is imported already: a child could not take its copy")
    if threading.active_count() > 1:
        raise RuntimeError(f"a process with threads cannot be forked safely: {threading.enumerate()}")
    gc.freeze()  # children collect only what is theirs


def snapshot(place: Path) -> Path:
    """A copy of the package as it is, with the configuration beside it as in the repository."""
    shutil.copytree(PACKAGE, place / "src" / "mora", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "conf").symlink_to(ROOT / "conf")
    compileall.compile_dir(place / "src", quiet=1)
    return place


def plant(fault: Fault, base: Path, place: Path) -> Path:
    """A copy of ``base`` with one fault.  Files are linked, the changed one is new and has no compiled form."""
    shutil.copytree(base, place, copy_function=os.link, symlinks=True)
    target = place / "src" / "mora" / fault.file
    text = fault.planted(target.read_text(encoding="utf-8"))
    for stale in target.parent.glob(f"__pycache__/{target.stem}.*"):
        stale.unlink()
    target.unlink()
    target.write_text(text, encoding="utf-8")
    return place


def run(tasks: Sequence[Task], base: Path, *, jobs: int) -> Iterator[tuple[Task, Result]]:
    """The results of all tasks as they come in, ``jobs`` at a time; ``base`` comes from :func:`snapshot`."""
    context = multiprocessing.get_context("fork")
    waiting, running = deque(tasks), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            task = waiting.popleft()
            work = base.parent / f"work-{time.monotonic_ns()}"
            work.mkdir()
            try:
                copy = base if task.fault is None else plant(task.fault, base, work / "copy")
            except ValueError as error:
                yield task, Result(problem=str(error))
                continue
            process = context.Process(target=_child, args=(copy, work, task))
            process.start()
            running[process.sentinel] = process, task, work, time.monotonic() + RUN_LIMIT
        ready = wait(list(running), timeout=1.0)
        for sentinel, (process, task, work, deadline) in list(running.items()):
            if sentinel not in ready and time.monotonic() < deadline:
                continue
            process.kill()
            process.join()
            del running[sentinel]
            yield task, _read(work, late=sentinel not in ready)
            shutil.rmtree(work)


def _read(work: Path, *, late: bool) -> Result:
    path = work / "result.json"
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Result(**stored | {"failed": [tuple(one) for one in stored["failed"]]})
    if late:
        return Result(failed=[("(all)", "call", float(RUN_LIMIT), f"Timeout (>{RUN_LIMIT}s) of the whole run")])
    return Result(problem=f"the process ended without a result: {_tail(work)}")


def _tail(work: Path) -> str:
    output = work / "output.txt"
    return output.read_text(encoding="utf-8", errors="replace")[-2000:] if output.is_file() else ""


def _child(copy: Path, work: Path, task: Task) -> None:
    """Runs in the fork: pytest on the copy, its result into ``work``."""
    import pytest
    import torch

    source = str(copy / "src")
    sys.path.insert(0, source)
    os.environ |= {"PYTHONPATH": source, "HYPOTHESIS_STORAGE_DIRECTORY": str(work / "hypothesis")}
    torch.set_num_threads(1)
    output = os.open(work / "output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(ROOT)
    recorder = Recorder()
    options = [
        "-q",
        "-m",
        "not truth",
        "-p",
        "no:cacheprovider",
        f"--timeout={TEST_LIMIT}",
        f"--basetemp={work / 'tmp'}",
        *task.options,
    ]
    code = pytest.main([*options, *task.tests], plugins=[recorder])
    result = recorder.result
    foreign = [name for name, file in _modules() if not file.startswith(source)]
    if foreign:
        result.problem = f"{foreign[0]} was not imported from the copy"
    elif code not in (0, 1) and not result.problem:
        result.problem = f"pytest ended with {code!r}: {_tail(work)}"
    (work / "whole.json").write_text(json.dumps(asdict(result)), encoding="utf-8")
    os.replace(work / "whole.json", work / "result.json")


def _modules() -> Iterator[tuple[str, str]]:
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "mora" and getattr(module, "__file__", None):
            yield name, str(module.__file__)


class Recorder:
    """A plugin of pytest that keeps what each test did."""

    def __init__(self) -> None:
        self.result = Result()
        self._began = 0.0

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot be collected says nothing about its tests."""
        if report.failed:
            self.result.problem = f"{report.nodeid} cannot be collected: {_last_line(report)}"

    def pytest_runtest_logstart(self) -> None:
        """A test begins."""
        self._began = _processor_seconds()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One phase (setup, call, teardown) of a test."""
        if report.failed:
            seconds = _processor_seconds() - self._began
            self.result.failed.append((report.nodeid, report.when, seconds, _last_line(report)))
        elif report.when == "call" and report.passed:
            self.result.passed.append(report.nodeid)


def _processor_seconds() -> float:
    """Of this process and those it waited for: other work on the machine does not count."""
    return sum(os.times()[:4])


def _last_line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return text.strip().splitlines()[0] if crash is not None else text.strip().splitlines()[-1]
