"""Measuring finished runs: what an evaluation is handed of a run, and what its tables were measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from mora.dataset.corpus import Corpus
from mora.errors import InputError
from mora.evaluation import Evaluation
from mora.evaluation.front import Front
from mora.evaluation.grid import steering_grid
from mora.files import read_object, record_json
from mora.functional.lagrangian import Lagrangian
from mora.model.policy import Policy
from mora.model.score_model import read_card
from mora.model.stored import STANDARDIZATION, load_plain, load_policy
from mora.reward.hub_scorer import HubScorer
from mora.reward.scorer import GoldScorer, ModelScorer, Scorer
from mora.reward.standardization import Standardization
from mora.reward.stored import load_scorer
from mora.run.build import build, load_corpus
from mora.run.opened import compute_device
from mora.run.plan import MEASURED, fitting, measured_with
from mora.run.record import with_training
from mora.runtime.feature_files import FeatureFiles
from mora.runtime.folder import RunFolder
from mora.settings.compose import compose
from mora.settings.identity import plain
from mora.types import Row


def measure(folder: RunFolder, config: Mapping[str, Any], evaluation: Mapping[str, Any], *, seed: int) -> str:
    """Write the tables of a run: what ``evaluation`` names for a policy, the quality of a reward model.

    Returns the name of the table that sums it up, without ``.json``; what it was measured with is noted beside it.
    Raises InputError where the evaluation does not fit the run.
    """
    if config["algo"]["produces"] == "reward":
        evaluation = fitting("reward", evaluation)
    table = _measure(FinishedRun(folder=folder, config=config, seed=seed), evaluation)
    note_measured(folder, table, evaluation, seed=seed)
    return table


def note_measured(folder: RunFolder, table: str, evaluation: Mapping[str, Any], *, seed: int) -> None:
    """Keep what a table was measured with, so that a command that asks for the same need not measure again."""
    path = folder.tables / MEASURED
    made = read_object(path) if path.is_file() else {}
    record_json(path, made | {table: measured_with(evaluation, seed)})


def _measure(run: FinishedRun, evaluation: Mapping[str, Any]) -> str:
    path = run.folder.path
    if (path / "policy").is_dir() or (path / "model").is_dir():
        if evaluation["measures"] == "reward":
            raise InputError(f"{path} is no reward model; use evaluation=front")
    elif not (path / "reward").is_dir():
        raise InputError(f"{path} holds no model; name a run of mora.train")
    evaluator: Evaluation = build(evaluation)
    return evaluator.measure_run(run)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What an evaluation is handed: :class:`mora.evaluation.Run`, which says what each part is."""

    folder: RunFolder
    config: Mapping[str, Any]
    seed: int

    @property
    def corpus(self) -> Corpus:
        """Its data; loaded once in a process."""
        return load_corpus(self.config)

    def build(self, section: str) -> Any:
        """The object of a section."""
        return build(self.config[section])

    def policy(self) -> tuple[Policy, PreTrainedTokenizerBase]:
        """Policy and tokenizer."""
        return _policy(self.folder, self.config)

    def preferences(self, given: list[list[float]] | None, policy: Policy) -> list[list[float]] | None:
        """The preferences to measure a policy at."""
        return _own_preferences(given, policy, self.config)

    def reward(self) -> ModelScorer | HubScorer:
        """The reward model."""
        path = self.folder.path / "reward"
        scorer = load_scorer(path, compute_device())
        if isinstance(scorer, ModelScorer) and read_card(path).get("frozen_trunk") is True:
            scorer.features = FeatureFiles(self.folder.features, scorer.model, scorer.encoder.pad, None).of
        return scorer

    def front(self, front: Front) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Answers at every preference, and their scores."""
        return front_of(self.folder, self.config, front, self.corpus, seed=self.seed)

    def answers(self, front: Front, prompts: Sequence[Row]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Answers to these prompts at every preference, and their scores in the scorers' own units."""
        corpus = replace(self.corpus, prompts={"train": [], "test": prompts})
        return front_of(self.folder, self.config, front, corpus, seed=self.seed, own_units=True)

    def judges(self) -> dict[str, Scorer]:
        """Gold, and the reward model that trained it."""
        return _judges(self.folder, self.config, self.corpus)

    def table(self, name: str, keys: Sequence[str]) -> dict[str, Any]:
        """A table, which is measured first where it is not there."""
        path = self.folder.tables / f"{name}.json"
        if not path.is_file():
            usual = plain(compose("evaluate", [f"evaluation={name}"]))["evaluation"]
            measure(self.folder, self.config, usual, seed=self.seed)
        return read_object(path, keys)

    def check_units(self) -> None:
        """Raises InputError where the reward changed while it trained the policy."""
        _check_units(self.folder, self.config)

    def near_training(self, prompts: list[str]) -> tuple[dict[str, Any] | None, list[str]]:
        """Prompts that are near one of training."""
        return with_training(self.config, prompts)


def _policy(folder: RunFolder, config: Mapping[str, Any]) -> tuple[Policy, PreTrainedTokenizerBase]:
    """The policy of a run, or its plain model, and the tokenizer."""
    if (folder.path / "policy").is_dir():
        return load_policy(folder.path / "policy", compute_device(), build(config["model"]))
    return load_plain(folder.path / "model", compute_device())


def _own_preferences(
    given: list[list[float]] | None, policy: Policy, config: Mapping[str, Any]
) -> list[list[float]] | None:
    """The preferences to ask for: those ``given``, the only one of training, or a grid over what steers."""
    if given is not None or not policy.trained:
        return given
    names = config["objectives"]["names"]
    if build(config["preference"]).fixed:
        return [build(config["preference"]).of(len(names)).tolist()]
    return steering_grid(policy.floored, len(names)) if policy.floored else None


def front_of(
    folder: RunFolder,
    config: Mapping[str, Any],
    evaluator: Front,
    corpus: Corpus,
    *,
    seed: int,
    own_preference: bool = True,
    own_units: bool = False,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """``front.json`` and ``samples.jsonl`` of a run, on the prompts of ``corpus``.

    A policy that was trained at one preference is asked at that one, where none are named and ``own_preference`` is.
    With ``own_units`` the scores of ``samples.jsonl`` are those of the reward model before they were standardized.
    """
    scorers, provenance = _scorers(folder, config, corpus), dict[str, Any]()
    if "gold" in scorers:
        trained, name = config["reward"]["origin"] == "rules", corpus.true_scores.name  # type: ignore[union-attr]
        provenance["gold"] = {"kind": "true scores", "world": name, "trained the policy": trained}
    if "reward" in scorers:
        run = folder.identity["upstream"]["reward"]
        provenance["reward"] = {"kind": "reward model", "run": run, "trained the policy": True}
    policy, tokenizer = _policy(folder, config)
    if not policy.trained and "gold" in provenance:
        provenance["gold"]["trained the policy"] = False
    if own_preference:
        evaluator = replace(evaluator, preferences=_own_preferences(evaluator.preferences, policy, config))
    table, samples = evaluator.measure(policy, corpus.encoder(tokenizer), corpus, scorers, seed=seed)
    if own_units and "reward" in scorers:
        _put_back(samples, scorers["reward"].standardization, len(corpus.objectives))
    head = {
        "run": folder.id,
        "model": config["model"]["name"],
        "smoke": config["model"]["smoke"],
        "scorers": provenance,
        "judge": next(iter(scorers), None),
        "units": {"gold": "true score", "reward": "standard deviations of the reference policy"},
    }
    return head | table, samples


def _put_back(samples: Sequence[dict[str, Any]], units: Standardization | None, objectives: int) -> None:
    """Take standardized scores of the reward model back into its own units, in place."""
    if units is None:
        return
    zero, one = (units.in_units(torch.full((objectives,), at)).double() for at in (0.0, 1.0))
    for row in samples:
        row["reward"] = ((torch.tensor(row["reward"]).double() - zero) / (one - zero)).tolist()


def _scorers(folder: RunFolder, config: Mapping[str, Any], corpus: Corpus) -> dict[str, Scorer]:
    """What scores the answers of a run: true scores, where they are known, and the reward model that trained it."""
    scorers: dict[str, Scorer] = {}
    if corpus.true_scores is not None:
        scorers["gold"] = GoldScorer(corpus.true_scores).select(corpus.objectives)
    reward = reward_folder(folder, config)
    if reward is not None:
        own = load_scorer(reward, compute_device()).select(corpus.objectives)
        scorers["reward"] = own if own.standardized else _in_units_of_training(folder, own)
    return scorers


def _check_units(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Raises InputError where the reward that trained the policy changed while it was trained: no optimum is of it."""
    rollout = config["algo"].get("rollout", {})
    usual = {
        "score_clip": None,
        "normalize_rewards": False,
        "center_by_prompt": False,
        "tracking": "none",
        "truncated": "score",
    }
    odd = [f"algo.rollout.{key}={rollout[key]}" for key, value in usual.items() if rollout.get(key, value) != value]
    if odd:
        raise InputError(
            f"{folder.path}: was trained with {', '.join(odd)}, so its reward is not in the frozen units that an "
            "optimum or a regret is computed in; measure its front instead: evaluation=front"
        )


def _judges(folder: RunFolder, config: Mapping[str, Any], corpus: Corpus) -> dict[str, Scorer]:
    """The rewards that a policy is held against: gold, and the model that trained it; what trained has its units."""
    if corpus.world is None:
        needs = "an optimum and a regret need a synthetic task"
        raise InputError(f"{folder.path}: {needs}, and dataset={corpus.name} is none; use evaluation=front")
    judges: dict[str, Scorer] = {"gold": GoldScorer(corpus.world).select(corpus.objectives)}
    reward = reward_folder(folder, config)
    if reward is not None:
        own = load_scorer(reward, compute_device()).select(corpus.objectives)
        floors_are_its_own = isinstance(build(config["scalarize"]), Lagrangian)
        judges = {"reward": own} if floors_are_its_own else judges | {"reward": own}
    _in_units_of_training(folder, judges["gold" if reward is None else "reward"])
    return judges


def _in_units_of_training(folder: RunFolder, scorer: Scorer) -> Scorer:
    """Give ``scorer`` the units that the policy of a run was trained in, where it has a policy; returns it."""
    units = folder.path / "policy" / STANDARDIZATION
    if units.is_file():
        scorer.standardization = Standardization.read(read_object(units, ["mean", "std", "provenance"]))
    return scorer


def reward_folder(folder: RunFolder, config: Mapping[str, Any]) -> Path | None:
    """The reward model that a policy was trained with; None for rules."""
    named = folder.identity.get("upstream", {}).get("reward")
    if named is None:
        return None
    start = Path(config["start"]["reward"])
    beside = [folder.path.parent / named / "reward"] if isinstance(named, str) else []  # a run's id
    for candidate in (*beside, start / "reward", start):
        if candidate.is_dir():
            return candidate
    gone = named if beside else start
    raise InputError(f"{folder.path}: the reward model {gone} that this policy was trained with is gone")
