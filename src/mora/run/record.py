"""What the data of a run was, kept with the run: counts, fingerprint, bad rows, and prompts shared with other runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mora.dataset import overlap
from mora.dataset.corpus import KINDS, Corpus
from mora.dataset.record_parser import quarantine_lines
from mora.errors import InputError
from mora.files import read_object, write_json, write_text
from mora.run.build import load_corpus
from mora.runtime.console import say
from mora.runtime.devices import Runtime
from mora.runtime.folder import RunFolder
from mora.settings.stored import stored_config

WORLDS = "mora.dataset.worlds."
DATA, QUARANTINE = "dataset.json", "quarantine.jsonl"


def record_data(folder: RunFolder, corpus: Corpus, upstream: Mapping[str, str], runtime: Runtime) -> None:
    """Say and keep what the data was; ``upstream`` are the ids of the runs that this one stands on.

    Raises InputError where a run is continued on other data.
    """
    for note in corpus.notes:
        say(f"dataset {corpus.name}: {note}")
    runtime.on_main(lambda: _record(folder, corpus, upstream))


def _record(folder: RunFolder, corpus: Corpus, upstream: Mapping[str, str]) -> None:
    path = folder.path / DATA
    if path.is_file():
        if read_object(path, ["fingerprint"])["fingerprint"] != corpus.fingerprint:
            raise InputError(f"{path}: the data changed since this run began; use runtime.fresh=true to begin anew")
        return
    shared, notes = _with_runs(folder, corpus, upstream)
    for note in notes:
        say(f"dataset {corpus.name}: {note}")
    if corpus.quarantine:
        write_text(folder.path / QUARANTINE, quarantine_lines(corpus.quarantine))
    table = {
        "name": corpus.name,
        "objectives": list(corpus.objectives),
        "fingerprint": corpus.fingerprint,
        "commits": dict(corpus.commits),
        "records": dict(corpus.records),
        "rows": {kind: {side: len(rows) for side, rows in getattr(corpus, kind).items()} for kind in KINDS},
        "overlap": {**corpus.overlap, **shared},
        "max_prompt": corpus.max_prompt,
        "max_response": corpus.max_response,
        "notes": [*corpus.notes, *notes],
    }
    write_json(path, table)


def _with_runs(folder: RunFolder, corpus: Corpus, upstream: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Prompts shared with the reward models that a run stands on, where these were trained on other data."""
    found: dict[str, Any] = {}
    notes: list[str] = []
    for role, run in upstream.items():
        below = folder.path.parent / run / DATA
        if not below.is_file() or read_object(below, ["fingerprint"])["fingerprint"] == corpus.fingerprint:
            continue
        config = stored_config(below.parent)
        if config["algo"]["produces"] != "reward":
            continue
        try:
            other = load_corpus(config)
        except InputError as error:
            notes.append(f"prompts shared with {run} are not known, since its data cannot be read: {error}")
            continue
        found[f"with_{role}"] = shared = overlap.between(corpus, other)
        notes += overlap.notes_between(shared, run)
    return found, notes


def with_training(config: Mapping[str, Any], prompts: list[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """How many prompts of a benchmark are near one that a run was trained on, and in words; None: cannot be known.

    A world's prompts are its own, and are not made again for this.
    """
    if config["dataset"]["_target_"].startswith(WORLDS):
        return None, []
    try:
        corpus = load_corpus(config)
    except InputError as error:
        return None, [f"whether its prompts were trained on is not known, since the data cannot be read: {error}"]
    found = overlap.against(corpus, prompts)
    said = f"{found['prompts']} of {found['of']} prompts are near one that the run was trained on"
    return found, [said] if found["prompts"] else []
