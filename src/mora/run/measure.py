"""Tables of finished runs: what an evaluation needs of a run, and where its tables go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from mora.dataset.corpus import Corpus
from mora.errors import InputError
from mora.evaluation import sections
from mora.evaluation.contests import read_contests
from mora.evaluation.front import Front, write_front
from mora.evaluation.optimum import Optimum
from mora.evaluation.regret import Regret, with_limit
from mora.evaluation.reward_model import write
from mora.files import read_object, record_json
from mora.functional.lagrangian import Lagrangian
from mora.model.policy import Policy
from mora.model.stored import STANDARDIZATION, load_plain, load_policy
from mora.reward.panel import GoldPanel, Panel
from mora.reward.standardization import Standardization
from mora.reward.stored import load_panel
from mora.run.build import build, load_corpus
from mora.run.opened import compute_device
from mora.run.plan import MEASURED, fitting, measured_with
from mora.run.record import with_training
from mora.runtime.folder import RunFolder
from mora.settings.compose import compose
from mora.settings.identity import plain


def measure(folder: RunFolder, config: Mapping[str, Any], evaluation: Mapping[str, Any], *, seed: int) -> str:
    """Write the tables of a run: what ``evaluation`` names for a policy, the quality of a reward model.

    Returns the name of the table that sums it up, without ``.json``; what it was measured with is noted beside it.
    Raises InputError where the evaluation does not fit the run.
    """
    if config["algo"]["produces"] == "reward":
        evaluation = fitting("reward", evaluation)
    table = _measure(folder, config, evaluation, seed=seed)
    note_measured(folder, table, evaluation, seed=seed)
    return table


def note_measured(folder: RunFolder, table: str, evaluation: Mapping[str, Any], *, seed: int) -> None:
    """Keep what a table was measured with, so that a command that asks for the same need not measure again."""
    path = folder.tables / MEASURED
    made = read_object(path) if path.is_file() else {}
    record_json(path, made | {table: measured_with(evaluation, seed)})


def _measure(folder: RunFolder, config: Mapping[str, Any], evaluation: Mapping[str, Any], *, seed: int) -> str:
    if (folder.path / "policy").is_dir() or (folder.path / "model").is_dir():
        evaluator = build(evaluation)
        if evaluation["measures"] == "reward":
            raise InputError(f"{folder.path} is no reward model; use evaluation=front")
        if isinstance(evaluator, Regret):
            _measure_regret(folder, config, evaluator)
            return "regret"
        if isinstance(evaluator, Optimum):
            _measure_optimum(folder, config, evaluator, seed=seed)
            return "optimum"
        _measure_front(folder, config, evaluator, seed=seed)
        return "front"
    if (folder.path / "reward").is_dir():
        return _measure_reward(folder, config, evaluation)
    raise InputError(f"{folder.path} holds no model; name a run of mora.train")


def _measure_reward(folder: RunFolder, config: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """A reward model on a benchmark where ``evaluation`` says so, else on the held-out pairs of its own data."""
    evaluator = build(evaluation)
    panel = load_panel(folder.path / "reward", compute_device())
    if isinstance(evaluator, sections.Sections):
        table, subsets, rows = evaluator.measure(panel)
        near, said = with_training(config, [contest.prompt for contest in read_contests(evaluator.path)])
        table |= {"near_training": near, "notes": [*table["notes"], *said]}
        sections.write(folder.tables, {"run": folder.id} | table, subsets, rows)
        return "sections"
    corpus = load_corpus(config)
    table, lines, examples = evaluator.measure(panel, corpus.pairs["test"], corpus.world, kind=panel.kind.name)
    head = {"model": config["model"]["name"], "smoke": config["model"]["smoke"], "split": "test"}
    write(folder.tables, head | table, lines, examples)
    return "reward"


def _policy(folder: RunFolder, config: Mapping[str, Any]) -> tuple[Policy, PreTrainedTokenizerBase]:
    """The policy of a run, or its plain model, and the tokenizer."""
    if (folder.path / "policy").is_dir():
        return load_policy(folder.path / "policy", compute_device(), build(config["model"]))
    return load_plain(folder.path / "model", compute_device())


def _own_preferences(
    given: list[list[float]] | None, policy: Policy, config: Mapping[str, Any]
) -> list[list[float]] | None:
    """The preferences to ask for: those ``given``, or of a policy that none steers the one that it was trained at."""
    if given is not None or policy.steered or not policy.trained:
        return given
    return [build(config["preference"]).of(len(config["objectives"]["names"])).tolist()]


def front_of(
    folder: RunFolder, config: Mapping[str, Any], evaluator: Front, corpus: Corpus, *, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """``front.json`` and ``samples.jsonl`` of a run, on the prompts of ``corpus``."""
    scorers: dict[str, Panel] = {}
    provenance: dict[str, Any] = {}
    if corpus.world is not None:
        scorers["gold"] = GoldPanel(corpus.world).select(corpus.objectives)
        trained = config["reward"]["origin"] == "rules"
        provenance["gold"] = {"kind": "rules of the world", "world": corpus.world.name, "trained the policy": trained}
    reward = reward_folder(folder, config)
    if reward is not None:
        scorers["reward"] = load_panel(reward, compute_device()).select(corpus.objectives)
        run = folder.identity["upstream"]["reward"]
        provenance["reward"] = {"kind": "reward model", "run": run, "trained the policy": True}
    policy, tokenizer = _policy(folder, config)
    if not policy.trained and "gold" in provenance:
        provenance["gold"]["trained the policy"] = False
    evaluator = replace(evaluator, preferences=_own_preferences(evaluator.preferences, policy, config))
    table, samples = evaluator.measure(policy, corpus.encoder(tokenizer), corpus, scorers, seed=seed)
    head = {
        "run": folder.id,
        "model": config["model"]["name"],
        "smoke": config["model"]["smoke"],
        "scorers": provenance,
        "judge": next(iter(scorers), None),
        "units": {"gold": "score of the world", "reward": "standard deviations of the reference policy"},
    }
    return head | table, samples


def _measure_front(folder: RunFolder, config: Mapping[str, Any], evaluator: Front, *, seed: int) -> None:
    table, samples = front_of(folder, config, evaluator, load_corpus(config), seed=seed)
    if table["judge"] is None:
        raise InputError(
            f"{folder.path}: nothing scores its answers; compare it with runs that have a reward model: "
            "evaluation=compare evaluation.judge=REWARD_RUN"
        )
    write_front(folder.tables, table, samples)


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


def _measure_optimum(folder: RunFolder, config: Mapping[str, Any], evaluator: Optimum, *, seed: int) -> None:
    front = folder.tables / "front.json"
    if not front.is_file():
        measure(folder, config, plain(compose("evaluate", ["evaluation=front"]))["evaluation"], seed=seed)
    kl_coef = config["algo"].get("kl_coef")
    if kl_coef is None:
        raise InputError(f"{folder.path}: was trained without a KL term, so no optimum belongs to it")
    _check_units(folder, config)
    corpus = load_corpus(config)
    policy, tokenizer = _policy(folder, config)
    encoder = corpus.encoder(tokenizer)
    table = evaluator.measure(
        policy,
        encoder,
        corpus,
        read_object(front, ["points", "indicators", "reference_point"]),
        kl_coef=kl_coef,
        seed=seed,
    )
    record_json(folder.tables / "optimum.json", {"run": folder.id} | table)


def _measure_regret(folder: RunFolder, config: Mapping[str, Any], evaluator: Regret) -> None:
    kl_coef = evaluator.kl_coef if evaluator.kl_coef is not None else config["algo"].get("kl_coef")
    if kl_coef is None:
        raise InputError(f"{folder.path}: was trained without a KL term; say evaluation.kl_coef=...")
    _check_units(folder, config)
    corpus = load_corpus(config)
    policy, tokenizer = _policy(folder, config)
    encoder = corpus.encoder(tokenizer)
    scalarize = build(config["scalarize"])
    asked = replace(evaluator, preferences=_own_preferences(evaluator.preferences, policy, config))
    table = asked.measure(
        policy,
        encoder,
        corpus,
        _judges(folder, config, corpus, scalarize),
        risk=build(config["risk"]),
        scalarize=scalarize,
        kl_coef=kl_coef,
    )
    if evaluator.limit is not None:
        beside = next((p for p in (Path(evaluator.limit), folder.path.parent / evaluator.limit) if p.is_dir()), None)
        other = None if beside is None else beside / "tables" / "regret.json"
        if other is None or not other.is_file():
            raise InputError(f"evaluation.limit={evaluator.limit}: no run with tables/regret.json; measure it first")
        table = with_limit(
            table,
            read_object(other, ["objectives", "kl_coef", "scalarize", "splits"]),
            other.parents[1].name,
        )
    record_json(folder.tables / "regret.json", {"run": folder.id} | table)


def _judges(folder: RunFolder, config: Mapping[str, Any], corpus: Corpus, scalarize: Any) -> dict[str, Panel]:
    """The rewards that a policy is held against: gold, and the model that trained it; what trained has its units."""
    assert corpus.world is not None
    judges: dict[str, Panel] = {"gold": GoldPanel(corpus.world).select(corpus.objectives)}
    reward = reward_folder(folder, config)
    if reward is not None:
        own = load_panel(reward, compute_device()).select(corpus.objectives)
        judges = (
            {"reward": own} if isinstance(scalarize, Lagrangian) else judges | {"reward": own}
        )  # floors are its own
    units = folder.path / "policy" / STANDARDIZATION
    if units.is_file():
        judges["gold" if reward is None else "reward"].standardization = Standardization.read(
            read_object(units, ["mean", "std", "provenance"])
        )
    return judges


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
