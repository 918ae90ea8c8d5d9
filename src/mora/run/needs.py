"""What the stages of a command need of the data, looked at before the first of them begins and torch is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

from mora.dataset.answers import OBJECTIVE
from mora.dataset.record_parser import WrongFormat
from mora.dataset.schema import ID, LABEL, STRENGTH, Fields
from mora.dataset.source import Source
from mora.errors import InputError
from mora.run.build import build, load_corpus
from mora.run.plan import Stage
from mora.settings.identity import plain
from mora.settings.overrides import prepare
from mora.settings.tree import opened

TRIED = 20  # records of a file that other datasets are tried on
NAMED = 3  # datasets that a message names
ENDS = (ID, LABEL, STRENGTH, "_rating_0", "_rating_1")  # of columns, after what they are about
RESPONSES = {"prompts": 0, "supervised": 1, "pairs": 2}  # of a row of each kind, at least
FEWER = (", as prompts alone", ", as answers and not as pairs")  # what rows of so many responses are
MISSING = {
    "prompts": "there is no prompt to train on",
    "supervised": "there is no answer to fine-tune on: give some, with dataset.supervised_path too, or name a policy "
    "that was fine-tuned elsewhere, start.policy=RUN",
    "pairs": "there is neither a training pair nor a rated answer: train the reward model on a dataset that has them, "
    "and name its run, start.reward=RUN",
}


def check_data(stages: Sequence[Stage], *, fresh: bool) -> None:
    """Raises InputError where the data lack what a stage that is to run is trained on, with what reads their columns.

    The corpora stay loaded for the stages themselves.
    """
    for stage in stages:
        if not stage.finished or fresh:
            _check(stage)


def _check(stage: Stage) -> None:
    kind = stage.rows
    try:
        corpus = load_corpus(stage.config)
    except WrongFormat as error:
        raise InputError(f"{error}{_advice(stage, kind)}") from None
    found, seen = len(getattr(corpus, kind)["train"]), _columns(corpus.records)
    columns = f"; columns that exist: {', '.join(seen)}" if seen else ""
    if kind == "pairs" and stage.config["reward"].get("source") != "teacher":
        missing = [name for name in corpus.objectives if name not in corpus.labelled()]
        near = list(dict.fromkeys(objective for name in missing if (objective := _near(name, seen)) is not None))
        if missing and (found or near):
            meant = f"; is it objectives.names=[{','.join(near)}]?" if near else ""
            raise InputError(
                f"objectives.names: {', '.join(missing)}: {_said(stage)} neither labels nor rates a training answer on "
                f"it{columns}{meant}"
            )
    rated = len(corpus.scored["train"])
    if not found and kind == "supervised" and rated:
        columns = f"; {rated} rated answers are not read as examples, whatever their ratings{columns}"
    if not found:
        raise InputError(f"{_said(stage)}: {MISSING[kind]}{columns}{_advice(stage, kind)}")


def _near(objective: str, columns: Sequence[str]) -> str | None:
    """What a column is about that is called almost as an objective is."""
    about = [name.removesuffix(next((end for end in ENDS if name.endswith(end)), "")) for name in columns]
    return next(iter(difflib.get_close_matches(objective, about, n=1, cutoff=0.75)), None)


def _columns(found: Mapping[str, Any]) -> list[str]:
    """The columns that records had; of a mixture, those of its parts."""
    own = list(found.get("columns", []))
    parts = [name for part in found.values() if isinstance(part, Mapping) for name in _columns(part)]
    return list(dict.fromkeys(own + parts))


def _said(stage: Stage) -> str:
    dataset = stage.config["dataset"]
    path = dataset.get("path")
    return f"dataset={dataset['name']}" + (f" dataset.path={path}" if path else "")


def _advice(stage: Stage, kind: str) -> str:
    """The datasets that read rows of ``kind`` from the first records of local files, in words.

    Where none does, those that read more of them than the one in use.  Of a mixture each part is looked at.
    """
    dataset, objectives = stage.config["dataset"], stage.config["objectives"]["names"]
    parts = [(f"part {n}: ", part["source"]) for n, part in enumerate(dataset.get("sources", []), start=1)]
    said = [(part, _readers(section, objectives, kind)) for part, section in parts or [("", dataset)]]
    return "".join(f"; {part}{readers}" for part, readers in said if readers)


def _readers(section: Mapping[str, Any], objectives: Sequence[str], kind: str) -> str:
    """The same for the section of one source."""
    if section.get("path") is None or not _is_source(section):
        return ""
    source: Source = build(section)
    some = source.first(objectives, TRIED)
    own = _responses(source, some, objectives)
    for responses in range(RESPONSES[kind], own, -1):
        names = list(islice(_reading(some, section, objectives, responses), NAMED))
        if names:
            fewer = FEWER[responses] if responses < RESPONSES[kind] else ""
            return f"{' or '.join(f'dataset={name}' for name in names)} reads such records{fewer}"
    return ""


def _reading(
    some: Sequence[Fields], section: Mapping[str, Any], objectives: Sequence[str], responses: int
) -> Iterator[str]:
    """Names of datasets, other than the one in use, that make rows of so many responses of records."""
    for name, other in _sources().items():
        if name != section["name"]:
            source: Source = build({**other, "path": section["path"]})
            if _responses(source, some, objectives) >= responses:
                yield name


def _responses(source: Source, some: Sequence[Fields], objectives: Sequence[str]) -> int:
    """The most responses of a row that a source makes of records, whatever their objective; -1 where it makes none."""
    names = source.known or objectives[:1]  # with several, a record would have to say which it is about
    plain = ({name: value for name, value in fields.items() if name != OBJECTIVE} for fields in some)
    return max((len(row.responses) for fields in plain for row in source.tried(fields, names)), default=-1)


def _is_source(section: Mapping[str, Any]) -> bool:
    return section["_target_"] == f"{Source.__module__}.{Source.__name__}"


@cache
def _sources() -> dict[str, Any]:
    """The sections of all datasets that are sources."""
    with opened("train") as tree:
        names = tree.choices("dataset")
        sections = {name: plain(tree.compose(prepare([f"dataset={name}"])))["dataset"] for name in names}
    return {name: section for name, section in sections.items() if _is_source(section)}
