"""Comparing finished runs: find them, measure what is missing, judge all alike, write the tables and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from mora.dataset.corpus import Corpus
from mora.errors import InputError
from mora.evaluation.compare import UNIT, Compare
from mora.evaluation.compare_tables import write_tables
from mora.evaluation.front import known_world, write_front
from mora.evaluation.grid import preference_grid
from mora.evaluation.judged import Answers, Judge, judge_answers, read_answers
from mora.evaluation.methods import Method
from mora.files import read_object
from mora.functional.risk import mean
from mora.report.compare import write_comparison
from mora.reward.scorer import GoldScorer, Scorer
from mora.reward.stored import load_scorer
from mora.run.build import build, load_corpus
from mora.run.compared import (
    Opened,
    check_alike,
    facts,
    open_comparison,
    open_runs,
    seed_warnings,
    smoke_warnings,
    whole_or_absent,
)
from mora.run.measure import front_of, reward_folder
from mora.run.opened import compute_device
from mora.runtime.console import say
from mora.runtime.folder import RunFolder
from mora.settings.identity import plain
from mora.types import Sampled

Floats = NDArray[np.float64]


def compare(cfg: DictConfig, overrides: Sequence[str]) -> Path:
    """Compare ``cfg.runs`` and return the folder with tables and report.

    Raises InputError for runs that cannot be compared: unfinished, without a policy, of other objectives.
    """
    evaluator: Compare = build(plain(cfg.evaluation))
    groups = open_runs(plain(cfg.runs), cfg.paths.runs)
    runs = [run for group in groups.values() for run in group]
    check_alike(runs)
    corpus = load_corpus(runs[0].config)
    name, scorer = _judge(evaluator.judge, corpus, runs, cfg.paths.runs)
    protocol = evaluator.protocol(corpus, seed=cfg.seed)
    folder = open_comparison(cfg, overrides, groups, "compare", protocol=protocol, judge=name)
    with whole_or_absent(folder):
        grid, judge = preference_grid(evaluator.preferences, corpus.objectives), _asking(scorer)
        judged = {run: judge_answers(_answers(run, corpus, evaluator, folder, cfg.seed), judge) for run in runs}
        methods = [
            Method(
                name=label,
                seeds=[judged[run] for run in group],
                origins=[run.origin for run in group],
                facts=known,
            )
            for (label, group), known in zip(groups.items(), _facts(groups, name), strict=True)
        ]
        world = known_world(corpus, grid) if name == "gold" else None
        table, cells = evaluator.compare(methods, grid, corpus.objectives, world, seed=cfg.seed)
        head = {
            "comparison": folder.id,
            "objectives": list(corpus.objectives),
            "dataset": {"name": corpus.name, "protocol": folder.identity["protocol"]},
            "split": corpus.asked,
            "prompts": len(methods[0].seeds[0].answers.prompts),
            "samples_per_prompt": evaluator.samples,
            "seed": cfg.seed,
            "sampling": evaluator.sampling,
            "judge": {"name": name, "kind": "true scores" if name == "gold" else "reward model", "unit": UNIT},
        }
        table["warnings"] += _warnings(groups, name, corpus, evaluator)
        write_tables(folder.tables, head | table, methods, cells, shown=evaluator.shown_prompts)
        write_comparison(folder.path)
        folder.finish({})
    return folder.path


# --- the judge -------------------------------------------------------------------------------------------------------


def _judge(given: str | None, corpus: Corpus, runs: Sequence[Opened], root: str) -> tuple[str, Scorer]:
    """The judge's name, "gold" or that of a reward run, and its scorer.  Raises InputError where it must be named."""
    if given is None and corpus.true_scores is not None:
        return "gold", GoldScorer(corpus.true_scores).select(corpus.objectives)
    if given == "gold":
        raise InputError("evaluation.judge=gold: true scores judge by themselves where they are known; use null")
    if given is not None:
        folder = RunFolder.find(given, root).path
        if not (folder / "reward").is_dir():
            raise InputError(f"evaluation.judge={given}: that run trained no reward model; name a run of reward_model")
        return folder.name, load_scorer(folder / "reward", compute_device()).select(corpus.objectives)
    trained = {run.trainer: run for run in runs if run.trainer is not None}
    if len(trained) != 1:
        listed = ", ".join(sorted(trained)) or "none"
        raise InputError(
            f"evaluation.judge=null: the data has no rules to judge by, and the runs were trained by {listed}; "
            "name the reward run that judges all of them"
        )
    ((name, run),) = trained.items()
    path = reward_folder(run.folder, run.config)
    if path is None:
        raise InputError(
            f"evaluation.judge=null: {run.folder.id} was trained by rules that {runs[0].folder.id} has no world for; "
            "name the reward run that judges all of them, or name that run first"
        )
    return name, load_scorer(path, compute_device()).select(corpus.objectives)


def _asking(scorer: Scorer) -> Judge:
    def ask(prompts: Sequence[str], responses: Sequence[str], ended: Sampled) -> Floats:
        scores: Floats = mean(scorer.raw(prompts, responses, ended)).double().cpu().numpy()
        return scores

    return ask


# --- answers ---------------------------------------------------------------------------------------------------------


def _answers(run: Opened, corpus: Corpus, evaluator: Compare, folder: RunFolder, seed: int) -> Answers:
    """The answers of a run to the comparison's prompts: those of its own tables if they fit, else sampled now."""
    grid = preference_grid(evaluator.preferences, corpus.objectives)
    measured = folder.path / "measured" / run.folder.id
    for tables in (run.folder.tables, measured):
        front = tables / "front.json"
        if front.is_file() and read_object(front).get("protocol") == folder.identity["protocol"]:
            return read_answers(tables, grid)
    say(f"{run.folder.id}: answering {evaluator.prompts} prompts")
    table, samples = front_of(run.folder, run.config, evaluator, corpus, seed=seed, own_preference=False)
    write_front(measured, table, samples)
    return read_answers(measured, grid)


# --- what is said of the runs ----------------------------------------------------------------------------------------


def _facts(groups: Mapping[str, Sequence[Opened]], judge: str) -> list[dict[str, Any]]:
    found = []
    for group, known in zip(groups.values(), facts(groups), strict=True):
        trainers = sorted({run.trainer for run in group if run.trainer is not None})
        found.append(known | {"trained_by": ", ".join(trainers) or None, "judge_trained_it": judge in trainers})
    return found


def _warnings(groups: Mapping[str, Sequence[Opened]], judge: str, corpus: Corpus, evaluator: Compare) -> list[str]:
    """What a reader must know before the numbers."""
    runs = [run for group in groups.values() for run in group]
    found = smoke_warnings(groups)
    trained = [label for label, group in groups.items() if any(run.trainer == judge for run in group)]
    if trained:
        meaning = (
            "true scores, but no test of what a learned reward would have done."
            if judge == "gold"
            else "its scores may overstate what was gained. Prefer a judge that training never saw."
        )
        found.append(f"The judge {judge} trained {', '.join(trained)}: {meaning}")
    return found + seed_warnings(groups) + _data_warnings(runs, corpus, evaluator)


def _data_warnings(runs: Sequence[Opened], corpus: Corpus, evaluator: Compare) -> list[str]:
    """Whose prompts are asked where the runs had several sets, and which of these prompts a run was trained on."""
    first, asked = runs[0].folder, {row.prompt for row in evaluator.rows(corpus)}
    found = []
    if corpus.asked == "train":
        found.append(
            f"{first.id} has no held-out prompts: all methods answer prompts that were trained on, so intervals and "
            "verdicts say nothing of new prompts."
        )
    others = [run.folder.id for run in runs if run.folder.identity["dataset"] != first.identity["dataset"]]
    if others:
        found.append(f"The prompts are those of {first.id}; {', '.join(others)} had other data.")
    for run in runs[1:]:
        if all(run.config[key] == runs[0].config[key] for key in ("dataset", "seed")):
            continue
        other = load_corpus(run.config)
        kinds = (other.prompts, other.supervised, other.pairs)
        known = {row.prompt for kind in kinds for row in kind["train"]} & asked
        if known:
            found.append(f"{run.folder.id} was trained on {len(known)} of the {len(asked)} prompts of the comparison.")
    return found
