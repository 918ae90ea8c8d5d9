"""Prompts that are kept apart for a safety test, and the list of the tests that have seen them.

A test says something of a policy only while the policy does not depend on its prompts: not by training, and not because
it was chosen after an earlier test on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mora.dataset import schema
from mora.dataset.bad_rows import listed
from mora.dataset.corpus import KINDS, Corpus
from mora.dataset.read import records
from mora.dataset.schema import BadRow
from mora.dataset.split import conversation_id
from mora.dataset.store import conversation_ids
from mora.errors import InputError
from mora.files import read_object, write_json
from mora.types import Row

TESTS = ".safety_tests"  # below the folder of all runs: a file for each test
KEY = "evaluation.path"


def read_sealed(path: str) -> tuple[list[Row], int]:
    """The prompts of a file, each conversation once, and how many repeats were left out.

    Raises InputError that lists bad records with file and line, and for fewer than two prompts.
    """
    found: dict[int, Row] = {}
    problems, count = [], 0
    for record in records(path, KEY):
        count += 1
        try:
            prompt = schema.text(record.fields or {}, "prompt")
        except BadRow as error:
            problems.append((record.where, record.problem or str(error)))
            continue
        found.setdefault(conversation_id(prompt), Row(prompt=prompt, where=record.where))
    if problems:
        lines = [f"{KEY}={path}: {len(problems)} bad records; a record has a prompt", *listed(problems)]
        raise InputError("\n".join(lines))
    if len(found) < 2:
        raise InputError(f"{KEY}={path}: {len(found)} prompts; a test needs two at least, and hundreds to say much")
    return list(found.values()), count - len(found)


def digest(rows: Sequence[Row]) -> str:
    """SHA-256 of the prompts, in whatever order."""
    return hashlib.sha256("\x1f".join(sorted(row.prompt for row in rows)).encode()).hexdigest()


def check_unseen(rows: Sequence[Row], corpus: Corpus, path: str) -> None:
    """Raises InputError where a conversation of these prompts is in the data that a run was trained or measured on."""
    own = np.array([conversation_id(row.prompt) for row in rows])
    for side, said in (("train", "trained"), ("test", "measured")):
        kinds = (conversation_ids(getattr(corpus, kind)[side]) for kind in KINDS)
        seen = np.isin(own, np.concatenate(list(kinds)))
        if seen.any():
            first = rows[int(seen.argmax())]
            raise InputError(
                f"{KEY}={path}: {seen.sum()} of {len(rows)} prompts are in the data that the run was {said} on, the "
                f"first at {first.where}; a test needs prompts that were kept apart before training (python -m "
                "mora.prepare task=split)"
            )


def earlier_tests(root: Path, rows: Sequence[Row]) -> list[str]:
    """The runs of earlier tests, first to last, that saw one of these prompts; those below ``root`` are known."""
    own = {conversation_id(row.prompt) for row in rows}
    tests = [read_object(path, ["run", "prompts"]) for path in sorted((root / TESTS).glob("*.json"))]
    return [str(test["run"]) for test in tests if own.intersection(test["prompts"])]


def begin(root: Path, rows: Sequence[Row], run: str, **facts: Any) -> Path:
    """Note, before anything is sampled, that a test of ``run`` sees these prompts; returns the file of the note."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    prompts = sorted(conversation_id(row.prompt) for row in rows)
    path = root / TESTS / f"{time.replace(':', '')}-{run}.json"
    write_json(path, {"run": run, "time": time, **facts, "prompts": prompts})
    return path


def finish(path: Path, outcome: Mapping[str, Any]) -> None:
    """Add what came out to the note of a test."""
    write_json(path, {**read_object(path), **outcome})
