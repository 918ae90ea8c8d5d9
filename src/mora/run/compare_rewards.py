"""Comparing reward models: let every run judge the same held-out pairs, write the tables and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mora.dataset.corpus import Corpus, fingerprint
from mora.errors import InputError
from mora.evaluation.judgement import Judgement, RewardMethod
from mora.evaluation.reward_comparison import CompareRewards
from mora.evaluation.reward_comparison_tables import write_tables
from mora.files import read_object
from mora.report.compare import write_reward_comparison
from mora.reward.scorer import Scorer
from mora.reward.stored import load_scorer
from mora.run.build import build, load_corpus
from mora.run.compared import (
    REWARD,
    Opened,
    check_alike,
    facts,
    open_comparison,
    open_runs,
    seed_warnings,
    smoke_warnings,
    whole_or_absent,
)
from mora.run.opened import compute_device
from mora.run.plan import short_name
from mora.runtime.console import say
from mora.settings.identity import canonical_json, difference, plain
from mora.settings.methods import LONGEST, labels

KEYS_NAMED = 4  # settings that a message lists


def compare_rewards(cfg: DictConfig, overrides: Sequence[str]) -> Path:
    """Compare the reward models of ``cfg.runs`` and return the folder with tables and report.

    Raises InputError for runs that cannot be compared: unfinished, without a reward model, of other objectives or other
    held-out pairs.
    """
    evaluator: CompareRewards = build(plain(cfg.evaluation))
    groups = _groups(plain(cfg.runs), cfg.paths.runs)
    runs = [run for group in groups.values() for run in group]
    check_alike(runs)
    corpus = load_corpus(runs[0].config)
    told = _data_warnings(runs, corpus)
    asked = held_out_pairs(corpus)
    folder = open_comparison(cfg, overrides, groups, "compare_rewards", pairs=asked)
    with whole_or_absent(folder):
        judged = {run: _judgement(run, corpus, evaluator) for run in runs}
        methods = [
            RewardMethod(
                name=label,
                seeds=[judged[run] for run in group],
                origins=[run.origin for run in group],
                facts=known,
            )
            for (label, group), known in zip(groups.items(), _facts(groups), strict=True)
        ]
        table, curves = evaluator.compare(methods, seed=cfg.seed)
        head = {
            "comparison": folder.id,
            "dataset": {"name": corpus.name, "run": runs[0].folder.id, "pairs": asked},
            "held_out": len(corpus.pairs["test"]),
            "seed": cfg.seed,
        }
        table["warnings"] = smoke_warnings(groups) + seed_warnings(groups) + told + table["warnings"]
        write_tables(folder.tables, head | table, curves, methods)
        write_reward_comparison(folder.path)
        folder.finish({})
    return folder.path


def _groups(runs: Any, root: str) -> dict[str, list[Opened]]:
    """The runs of each method, by the method's name.

    Without names of the user's own: the kind of reward, and the settings that set it apart from others of that kind.
    """
    groups = open_runs(runs, root, REWARD)
    if isinstance(runs, Mapping):
        return groups
    found = list(groups.values())
    kinds, algos = [_kind(group[0]) for group in found], {group[0].config["algo"]["name"] for group in found}
    algo = algos.pop() if len(algos) == 1 else None  # said where there are several
    names: dict[int, str] = {}
    for kind in kinds:
        alike = [place for place, other in enumerate(kinds) if other == kind]
        said = labels([found[place][0].settings for place in alike])
        names |= {place: f"{kind}{_less(label, algo)}" for place, label in zip(alike, said, strict=True)}
    return {names[place]: group for place, group in enumerate(found)}


def _less(label: str, algo: str | None) -> str:
    """What a label adds to the kind of reward: not the algorithm, where there is but one."""
    return f" {label}" if algo is None else label.removeprefix(algo)


def _kind(run: Opened) -> str:
    return short_name(run.config["reward"])


def _facts(groups: Mapping[str, Sequence[Opened]]) -> list[dict[str, Any]]:
    kinds = [_kind(group[0]) for group in groups.values()]
    return [known | {"kind": kind} for known, kind in zip(facts(groups), kinds, strict=True)]


def _judgement(run: Opened, corpus: Corpus, evaluator: CompareRewards) -> Judgement:
    """What the reward model of a run says of the held-out pairs of ``corpus``; the model is loaded and let go."""
    rows = corpus.pairs["test"]
    say(f"{run.folder.id}: judging {len(rows)} pairs")
    scorer = _scorer(run).select(corpus.objectives)
    table, lines, examples = evaluator.quality.measure(scorer, rows, corpus.world, kind=_kind(run))
    return Judgement(run=run.folder.id, table=table, lines=lines, examples=examples)


def _scorer(run: Opened) -> Scorer:
    return load_scorer(run.folder.path / "reward", compute_device())


# --- the same pairs --------------------------------------------------------------------------------------------------


def held_out_pairs(corpus: Corpus) -> str:
    """What the held-out pairs of a corpus say, as a hash."""
    return fingerprint(corpus.objectives, {"train": [], "test": corpus.pairs["test"]})


def _data_warnings(runs: Sequence[Opened], corpus: Corpus) -> list[str]:
    """Whose pairs are judged where seeds drew their own, and which runs were trained on their prompts.

    ``corpus`` is that of the first run.  Seeds of one setting draw a world's pairs anew; all judge those of the first
    run.  Raises InputError for held-out pairs that differ in any other way.
    """
    same: dict[str, list[Opened]] = {}
    for run in runs:
        same.setdefault(_data(run), []).append(run)
    first, asked = runs[0], {row.prompt for row in corpus.pairs["test"]}
    redrawn, found = [], []
    for group in same.values():
        own = corpus if group[0] is first else load_corpus(group[0].config)
        if held_out_pairs(own) != held_out_pairs(corpus):
            if corpus.world is None or group[0].folder.identity["dataset"] != first.folder.identity["dataset"]:
                raise InputError(_refusal(group[0], first, own, corpus))
            redrawn += [run.folder.id for run in group]
        known = {row.prompt for kind in (own.supervised, own.pairs) for row in kind["train"]} & asked
        if known:
            named = ", ".join(run.folder.id for run in group)
            found.append(f"Trained on {len(known)} of the {len(asked)} prompts of the pairs: {named}.")
    if redrawn:
        other = f"the same world with another seed: {', '.join(redrawn)}"
        found.insert(0, f"The pairs are those of {first.folder.id}; own ones were drawn from {other}.")
    return found


def _refusal(run: Opened, first: Opened, own: Corpus, corpus: Corpus) -> str:
    return (
        f"runs: {run.folder.id} and {first.folder.id} have other held-out pairs ({_how(run, first, own, corpus)}); "
        "reward models are compared on the same pairs: train them on the same dataset with the same test split"
    )


def _data(run: Opened) -> str:
    return str(read_object(run.folder.path / "dataset.json", ["fingerprint"])["fingerprint"])


def _how(run: Opened, first: Opened, own: Corpus, corpus: Corpus) -> str:
    """In which settings two datasets differ, and how many of their held-out pairs agree."""
    sides = difference(run.config["dataset"], first.config["dataset"])
    said = [f"dataset.{key} {_side(both, 'left')} against {_side(both, 'right')}" for key, both in sides.items()]
    more = [f"and {len(said) - KEYS_NAMED} more settings"] if len(said) > KEYS_NAMED else []
    texts = [{(row.prompt, *row.responses) for row in one.pairs["test"]} for one in (own, corpus)]
    counts = f"{len(own.pairs['test'])} pairs against {len(corpus.pairs['test'])}, {len(texts[0] & texts[1])} in common"
    return "; ".join([*said[:KEYS_NAMED], *more, counts])


def _side(both: Mapping[str, Any], side: str) -> str:
    shown = canonical_json(both[side]) if side in both else "(none)"
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
