"""Regret to truth: what a policy is worth, exactly, against the best there is.

All responses are enumerated, so utilities, KL and the optimum carry no sampling noise.  The optimum is over all
policies; what the parameters of one policy can reach of it is another question, which a run of ``algo=exact`` answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora.bounds import Count, Positive, Share
from mora.dataset.corpus import SPLITS, Corpus
from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.evaluation import Run
from mora.evaluation.grid import preference_grid
from mora.evaluation.truth import Truth
from mora.files import read_object, record_json
from mora.functional import tilting
from mora.functional.hull import hull_front
from mora.functional.lagrangian import Lagrangian
from mora.model.policy import Policy
from mora.records.read import record
from mora.records.regret import Regrets
from mora.reward.scorer import Scorer
from mora.runtime.enumeration import Enumeration
from mora.types import RewardBelief

Floats = NDArray[np.float64]


@dataclass(kw_only=True)
class Regret:
    """``evaluation=regret``; the fields are the keys of ``conf/evaluation/regret.yaml``."""

    needs_kl: ClassVar[bool] = True  # a run with a KL term, or a KL weight of its own

    preferences: list[list[Share]] | None
    kl_coef: Positive | None
    limit: str | None
    max_responses: Count
    batch_size: Count

    def measure_run(self, run: Run) -> str:
        """Write ``regret.json`` of a policy.

        Raises InputError for one that was trained without a KL term where no ``kl_coef`` is given, or with a reward
        that changed meanwhile, and for a ``limit`` that was not measured.
        """
        kl_coef = self.kl_coef if self.kl_coef is not None else run.config["algo"].get("kl_coef")
        if kl_coef is None:
            raise InputError(f"{run.folder.path}: was trained without a KL term; say evaluation.kl_coef=...")
        if self.kl_coef is None and run.config["algo"].get("kl_target") is not None:
            raise InputError(
                f"{run.folder.path}: was trained with algo.kl_target, at many KL weights; say evaluation.kl_coef=..."
            )
        run.check_units()
        policy, tokenizer = run.policy()
        asked = replace(self, preferences=run.preferences(self.preferences, policy))
        table = asked.measure(
            policy,
            run.corpus.encoder(tokenizer),
            run.corpus,
            run.judges(),
            risk=run.build("risk"),
            scalarize=run.build("scalarize"),
            kl_coef=kl_coef,
        )
        if self.limit is not None:
            table = with_limit(table, *_limit(self.limit, run.folder.path.parent))
        path, whole = run.folder.tables / "regret.json", {"run": run.folder.id} | table
        record(whole, Regrets, str(path))  # as its readers will take it
        record_json(path, whole)
        return "regret"

    @torch.no_grad()
    def measure(
        self,
        policy: Policy,
        encoder: Encoder,
        corpus: Corpus,
        scorers: Mapping[str, Scorer],
        *,
        risk: Callable[[RewardBelief], Tensor],
        scalarize: Any,
        kl_coef: float,
    ) -> dict[str, Any]:
        """The table ``regret.json``, without its head: an entry for the prompts of training and one for held-out ones.

        ``scorers`` are the rewards to judge by; one that is not in standard units is standardized exactly, by the
        reference policy's own probabilities.
        Raises InputError for a dataset without gold scores, and for more than ``max_responses`` responses of a prompt.
        """
        world = corpus.world
        if world is None:
            raise InputError(f"evaluation=regret needs a world with gold scores; dataset {corpus.name} has none")
        device, grid = next(policy.parameters()).device, preference_grid(self.preferences, corpus.objectives)
        if isinstance(scalarize, Lagrangian):
            scalarize.check(corpus.objectives, grid.tolist())
            if scalarize.rectified:
                raise InputError(
                    "scalarize.rectified=true asks floors of every answer, and evaluation=regret knows the optimum "
                    "under floors of means; measure the run with evaluation=front"
                )
        table: dict[str, Any] = {
            "objectives": list(corpus.objectives),
            "kl_coef": kl_coef,
            "scalarize": type(scalarize).__name__,
            "definition": "relative regret: (U* - U) / (U* - U_ref), exact utilities, means over prompts",
            "splits": {},
        }
        for split in (split for split in SPLITS if corpus.prompts[split]):
            rows = corpus.prompts[split]
            everything = Enumeration(rows, encoder, device, limit=self.max_responses)
            reference = self._logps(everything, policy, None)
            policies = [self._logps(everything, policy, w) for w in (grid if policy.steered else grid[:1])]
            policies *= 1 if policy.steered else len(grid)
            texts, ended = everything.texts, everything.sampled.ended
            gold = np.stack([world.gold([row.prompt] * len(texts), texts, ended) for row in rows])
            judged = {}
            for name, scorer in scorers.items():
                if not scorer.standardized:  # the first split are the prompts of training: their units are those of all
                    everything.standardize(scorer, torch.from_numpy(reference))
                assert scorer.standardization is not None
                if isinstance(scalarize, Lagrangian):
                    scalarize.bind(corpus.objectives, scorer.standardization.in_units, one=True)
                rewards = everything.rewards(scorer, risk).double().cpu().numpy()
                truth = Truth(ref_logps=reference, rewards=rewards, scalarize=scalarize, kl_coef=kl_coef)
                points = [_point(truth, gold, w, found) for w, found in zip(grid, policies, strict=True)]
                judged[name] = {"units": scorer.standardization.facts(), "points": points, "summary": summary(points)}
            table["splits"][split] = {
                "prompts": [row.prompt for row in rows],
                "responses": len(everything.texts),
                "scorers": judged,
                "pure": np.unique(gold.reshape(-1, gold.shape[-1]), axis=0).tolist(),
                "hull": _mixtures(gold).tolist(),
            }
        return table

    def _logps(self, everything: Enumeration, policy: Policy, preference: Floats | None) -> Floats:
        """Log-probabilities (X, Y) at a preference (M,), None: of the reference policy."""
        weights = None if preference is None else torch.as_tensor(preference, dtype=torch.float32)
        with nullcontext() if preference is not None else policy.off():
            found = everything.logps(policy, weights, batch_size=self.batch_size).double()
        return np.asarray(found.log_softmax(-1).cpu().numpy())  # rounding of fp32 neither makes nor loses mass


def _mixtures(gold: Floats) -> Floats:
    """Vertices (H, M) of the front of what a policy can expect of gold scores (X, Y, M), whatever its KL."""
    pure = [np.unique(scores, axis=0) for scores in gold]
    reached = pure[0][hull_front(pure[0])]
    if all(np.array_equal(one, pure[0]) for one in pure):
        return np.asarray(reached)
    for one in pure[1:]:
        sums = (reached[:, None] + one[hull_front(one)]).reshape(-1, gold.shape[-1])
        reached = sums[hull_front(sums)]
    return np.asarray(reached / len(gold))


def _point(truth: Truth, gold: Floats, preference: Floats, logps: Floats) -> dict[str, Any]:
    """Policy, reference and optimum at one preference."""
    best = truth.optimum(preference)
    who = {"reference": truth.ref_logps, "policy": logps, "optimum": best.logps}
    utility = {name: truth.utility(one, preference, best) for name, one in who.items()}
    constraints = _constraints(truth, best, who)
    return {
        "preference": preference.tolist(),
        "utility": utility,
        "relative_regret": (utility["optimum"] - utility["policy"]) / (utility["optimum"] - utility["reference"]),
        "kl": {name: tilting.exact_kl(one, truth.ref_logps) for name, one in who.items()},
        "reward": {name: tilting.expected(one, truth.rewards).tolist() for name, one in who.items()},
        "gold": {name: tilting.expected(one, gold).tolist() for name, one in who.items()},
        "by_prompt": _by_prompt(truth, best, preference, logps),
        **({"constraints": constraints} if constraints else {}),
    }


def _constraints(truth: Truth, best: tilting.Solution, who: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """Each floor, what the policies expect above it (below 0: it is missed) and the optimum's multiplier.

    In the units of training, as the utility; empty where there are no constraints.
    """
    if not isinstance(truth.scalarize, Lagrangian):
        return {}
    bound, found = truth.scalarize.bound, {}
    assert best.multipliers is not None
    for index in bound.floored.nonzero().flatten().tolist():
        floor = float(bound.floors[index])
        slack = {name: float(tilting.expected(one, truth.rewards)[index]) - floor for name, one in who.items()}
        found[bound.objectives[index]] = {"floor": floor, "multiplier": float(best.multipliers[index]), **slack}
    return found


def _by_prompt(truth: Truth, best: tilting.Solution, preference: Floats, logps: Floats) -> list[float] | None:
    """The relative regret of each prompt; None where a utility is no mean over prompts."""
    if truth.scalarize.expects == "preference" or isinstance(truth.scalarize, Lagrangian):
        return None
    regrets = []
    for x in range(len(logps)):
        alone = replace(truth, ref_logps=truth.ref_logps[[x]], rewards=truth.rewards[[x]])
        top, mine, start = (alone.utility(one[[x]], preference, best) for one in (best.logps, logps, truth.ref_logps))
        regrets.append((top - mine) / (top - start))
    return regrets


def summary(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and worst relative regret over the preferences, and the mean KL of policy and optimum in nats.

    The worst prompt is the one whose mean over the preferences is largest; None where no prompt has a regret.
    """
    regrets = [point["relative_regret"] for point in points]
    each = [point["by_prompt"] for point in points]
    return {
        "relative_regret_mean": float(np.mean(regrets)),
        "relative_regret_worst": float(np.max(regrets)),
        "relative_regret_worst_prompt": None if None in each else float(np.mean(each, axis=0).max()),
        "kl_mean": float(np.mean([point["kl"]["policy"] for point in points])),
        "optimum_kl_mean": float(np.mean([point["kl"]["optimum"] for point in points])),
    }


def _limit(limit: str, runs: Path) -> tuple[dict[str, Any], str]:
    """The regret of the run ``limit``, a folder or a name below ``runs``, and its name.  Raises InputError."""
    beside = next((path for path in (Path(limit), runs / limit) if path.is_dir()), None)
    other = None if beside is None else beside / "tables" / "regret.json"
    if other is None or not other.is_file():
        raise InputError(f"evaluation.limit={limit}: no run with tables/regret.json; measure it first")
    return read_object(other, ["objectives", "kl_coef", "scalarize", "splits"]), other.parents[1].name


def with_limit(table: dict[str, Any], limit: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The table with the regret of ``limit``, a table of the same truth, as the class limit.

    Raises InputError when the two were not measured against the same utility.
    """
    for key in ("objectives", "kl_coef", "scalarize"):
        if table[key] != limit[key]:
            raise InputError(f"evaluation.limit={run}: its {key} is {limit[key]}, this run's is {table[key]}")
    asked = [{split: found["prompts"] for split, found in one["splits"].items()} for one in (table, limit)]
    if asked[0] != asked[1]:
        raise InputError(f"evaluation.limit={run}: its prompts are {asked[1]}, this run's are {asked[0]}")
    for split, found in table["splits"].items():
        _beside(found["scorers"], limit["splits"][split]["scorers"], run)
    return table


def _beside(scorers: dict[str, Any], limits: Mapping[str, Any], run: str) -> None:
    """Give each scorer of a split its class limit.  Raises InputError where the optima differ."""
    for name, judged in scorers.items():
        other: Any = limits.get(name)
        same = other is not None and [p["preference"] for p in other["points"]] == [
            p["preference"] for p in judged["points"]
        ]
        if not same or any(
            abs(mine["utility"]["optimum"] - its["utility"]["optimum"]) > 1e-6
            for mine, its in zip(judged["points"], other["points"], strict=True)
        ):
            raise InputError(
                f"evaluation.limit={run}: its optimum differs from this run's; both must start from the same policy "
                "and have the same reward, seed, preferences and floors (scalarize.floors): it has "
                f"{_floors(other)}, this run {_floors(judged)}"
            )
        judged["limit"] = {"run": run, "points": other["points"], "summary": other["summary"]}


def _floors(judged: Mapping[str, Any] | None) -> str:
    """The floors that an optimum keeps, in the units of training, in words."""
    found = {
        name: one["floor"]
        for point in (judged or {"points": []})["points"]
        for name, one in point.get("constraints", {}).items()
    }
    return ", ".join(f"{name} at least {floor:g}" for name, floor in found.items()) or "none"
