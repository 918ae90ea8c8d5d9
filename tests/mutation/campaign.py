"""All faults at once: the tests on the package as it is, then each fault against its tests."""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.mutation.fault import Fault
from tests.mutation.harness import Result, Task, run, snapshot

CAUGHT = ("caught", "setup", "timeout")
ELSEWHERE = ("functional", "model", "dataset", "reward", "runtime", "algo", "evaluation")  # where a search goes on


@contextmanager
def _snapshot() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mora-mutation-") as folder:
        yield snapshot(Path(folder).resolve() / "base")


def _baseline(faults: Sequence[Fault]) -> list[Task]:
    """The tests of all faults, each once, a task for each folder of tests."""
    folders: dict[str, set[str]] = defaultdict(set)
    for test in {test for fault in faults for test in fault.caught_by}:
        folders["/".join(test.split("::")[0].split("/")[:2])].add(test)
    for tests in folders.values():  # a file holds its tests
        tests -= {test for test in tests if "::" in test and test.split("::")[0] in tests}
    return [Task(fault=None, tests=tuple(sorted(tests)), options=()) for tests in folders.values()]


def campaign(faults: Sequence[Fault], *, jobs: int) -> dict[str, Any]:
    """``green`` (the tests pass without a fault), ``failures`` otherwise, ``faults`` with verdicts, ``survivors``."""
    failures: list[str] = []
    lines: list[dict[str, Any]] = []
    with _snapshot() as base:
        for _, result in run(_baseline(faults), base, jobs=jobs):
            failures += [f"{test}: {error}" for test, _, _, error in result.failed]
            failures += [result.problem] if result.problem else []
        if failures:
            return {"green": False, "failures": failures, "faults": [], "survivors": []}
        tasks = [Task(fault=fault, tests=fault.caught_by) for fault in faults]
        for task, result in run(tasks, base, jobs=jobs):
            assert task.fault is not None
            lines.append(_line(task.fault, result))
            print(f"{lines[-1]['verdict']:>8}  {task.fault.name}", file=sys.stderr)
    order = {fault.name: place for place, fault in enumerate(faults)}
    lines.sort(key=lambda line: order[line["name"]])
    survivors = [line["name"] for line in lines if line["verdict"] not in CAUGHT]
    return {"green": True, "failures": [], "faults": lines, "survivors": survivors}


def _line(fault: Fault, result: Result) -> dict[str, Any]:
    test, _, seconds, error = result.failed[0] if result.failed else ("", "", 0.0, "")
    line = {"name": fault.name, "file": fault.file, "why": fault.why, "verdict": result.verdict}
    return line | {"test": test, "seconds": round(seconds, 2), "error": result.problem or error}


def table(report: dict[str, Any]) -> str:
    """The report as a table of Markdown, or what failed without any fault."""
    if not report["green"]:
        return "\n".join(["these fail without a fault, so they can tell nothing:", *report["failures"]])
    rows = ["| fault | file | caught by | CPU s |", "| --- | --- | --- | ---: |"]
    for line in report["faults"]:
        note = "" if line["verdict"] == "caught" else f" ({line['verdict']})"
        by = f"`{line['test'].removeprefix('tests/')}`" if line["test"] else f"**{line['error'] or 'nothing'}**"
        rows.append(f"| {line['name']} | `{line['file']}` | {by}{note} | {line['seconds']:.2f} |")
    slow = sum(line["seconds"] >= 2.0 for line in report["faults"])
    caught = len(report["faults"]) - len(report["survivors"])
    return "\n".join(
        [*rows, "", f"{caught} of {len(report['faults'])} caught, {slow} of them by a test of 2 s or more"]
    )


def search(faults: Sequence[Fault], *, jobs: int) -> None:
    """Print which quick tests notice each fault: those of its own package first, then the others."""
    tasks = []
    for fault in faults:
        own = fault.file.split("/")[0]
        folders = [own] * (own in ELSEWHERE) + [name for name in ELSEWHERE if name != own]
        tests = tuple(f"tests/{name}" for name in folders) + ("tests/test_stages.py",)
        tasks.append(Task(fault=fault, tests=tests, options=("--maxfail=4",)))
    with _snapshot() as base:
        for task, result in run(tasks, base, jobs=jobs):
            assert task.fault is not None
            print(f"{task.fault.name}: {result.problem or result.verdict}")
            for test, phase, seconds, error in result.failed:
                print(f"  {seconds:6.2f} s  {test}  [{phase}] {error[:100]}")
