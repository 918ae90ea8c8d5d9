"""Runs against each other: on the same prompts, by one judge, in one unit, above one reference point, at one KL.

Every number of the tables is a statistic of the mean cells of a method (``judged.cells``), so that one set of resampled
prompts and seeds gives all intervals.  What depends on the runs that are compared (unit, reference point, KL budget) is
computed once, stored, and held fixed in intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from mora.bounds import Count, Natural, NonNegative, Positive
from mora.errors import InputError
from mora.evaluation import statistics
from mora.evaluation.front import Front
from mora.evaluation.judged import Columns, Unit, cells
from mora.evaluation.methods import Method, method_table
from mora.evaluation.statistics import Fixed
from mora.evaluation.study import Study, verdicts
from mora.evaluation.words import said
from mora.functional.bootstrap import LEAST_PROMPTS
from mora.functional.comparison import pooled_reference_point, reference_sweep
from mora.functional.pareto import non_dominated

Floats = NDArray[np.float64]
TOLD = 0.05  # share of answers that were cut off from which on a reader is told
UNIT = "standard deviations of the reference policy"


@dataclass(kw_only=True)
class Compare(Front):
    """``evaluation=compare``; the fields are the keys of ``conf/evaluation/compare.yaml``."""

    judge: str | None
    margin: NonNegative
    kl_budget: NonNegative | None
    kl_errors_below: NonNegative
    kl_effective: Annotated[float, Ge(1)]
    kl_steps: Count
    sweep_reach: Positive
    sweep_steps: Count
    shown_prompts: Natural

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resamples == 0:
            raise InputError("evaluation.resamples=0: a comparison needs intervals; use at least 100")

    def compare(
        self, methods: Sequence[Method], grid: Floats, objectives: Sequence[str], world: Any, *, seed: int
    ) -> tuple[dict[str, Any], dict[str, Floats]]:
        """The table ``compare.json`` without its head, and the cells (S, P, X, C) of every method by name.

        ``world`` is what ``front.known_world`` gives, in the judge's unit, or None.
        Raises InputError with fewer than 8 prompts.
        """
        prompts = len(methods[0].seeds[0].answers.prompts)
        if prompts < LEAST_PROMPTS:
            raise InputError(
                f"{prompts} prompts are too few for intervals: set evaluation.prompts={LEAST_PROMPTS} or more"
            )
        unit = Unit.of([one for method in methods for one in method.seeds])
        columns = Columns(len(objectives))
        stacked = [np.stack([cells(one, unit, grid) for one in method.seeds]) for method in methods]
        origins = [method.origins for method in methods]
        study = Study(stacked, origins, level=self.level, resamples=self.resamples, seed=seed)
        known = _standardized(world, unit)
        fixed = self._fixed(study, columns, grid, known)
        sweep = reference_sweep(
            [study.means(i)[:, columns.scores] for i in range(len(methods))],
            reach=self.sweep_reach,
            steps=self.sweep_steps,
        )
        budgets, plain = self._budgets(study, columns), self._plain()
        names = [method.name for method in methods]
        table = {
            "preferences": grid.tolist(),
            "level": self.level,
            "resamples": self.resamples,
            "standardization": _unit_facts(unit, objectives),
            "reference_point": {
                "values": fixed.z.tolist(),
                "unscaled": unit.undone(fixed.z).tolist(),
                "margin": self.margin,
                "rule": f"worst mean score of any method or reference policy, less {100 * self.margin:g} % of range",
            },
            "kl_budget": {"values": fixed.budget.tolist(), "rule": self._budget_rule()},
            "kl_budgets": budgets,
            "methods": [
                method_table(i, method, study, fixed, unit, budgets, plain=plain) for i, method in enumerate(methods)
            ],
            "sweep": {
                "reach": self.sweep_reach,
                "distances": sweep.distances.tolist(),
                "reference_points": sweep.reference_points.tolist(),
                "hypervolumes": dict(zip(names, sweep.hypervolumes.T.tolist(), strict=True)),
            },
            "world": known,
        }
        sure = [i for i, one in enumerate(table["methods"]) if (one["effective_answers"] or 0.0) >= self.kl_effective]
        pairs = self._pairs(names, study, fixed, sure)
        table |= {"pairs": pairs, "family": sum(len(p["verdicts"]) + len(p["at_matched_kl"] or ()) for p in pairs)}
        table |= {"warnings": _warnings(table, unit, objectives) + self._unmatched(table["methods"], sure)}
        return table, dict(zip(names, stacked, strict=True))

    # --- what is fixed for the comparison ----------------------------------------------------------------------------

    def _fixed(self, study: Study, columns: Columns, grid: Floats, known: dict[str, Any] | None) -> Fixed:
        means = [study.means(i) for i in range(len(study.seeds))]
        fronts = [mean[:, columns.scores] for mean in means]
        references = [mean[:, columns.reference] for mean in means]
        pooled = np.concatenate(fronts)
        return Fixed(
            columns=columns,
            grid=grid,
            z=pooled_reference_point([*fronts, *references], margin=self.margin),
            pooled=pooled[non_dominated(pooled)],
            front=None if known is None else np.array(known["front"]),
            budget=self._granted(study, columns.kl),
        )

    def _granted(self, study: Study, kl: int) -> Floats:
        """Nats per preference (P,) that matched KL allows."""
        methods = range(len(study.seeds))
        spent = [study.means(i)[:, kl] for i in methods]
        if self.kl_budget is not None:
            return np.full(len(spent[0]), self.kl_budget)
        errors = [study.fronts(i).resampled[..., kl].std(0, ddof=1) for i in methods]
        return statistics.granted_kl(spent, errors, errors_below=self.kl_errors_below)

    def _budget_rule(self) -> str:
        granted = (
            f"at each preference the least, over the methods that have left their reference policy, of KL less "
            f"{self.kl_errors_below:g} standard errors"
            if self.kl_budget is None
            else f"{self.kl_budget:g} nats at every preference"
        )
        return f"{granted}; what spends more is mixed with its reference policy, pi_ref^(1-a) pi^a, down to that"

    def _plain(self) -> bool:
        """Whether answers are drawn from the policies themselves, so that log-ratios are weights of these answers."""
        return (self.temperature, self.top_p, self.top_k) == (1.0, 1.0, 0)

    def _unmatched(self, methods: Sequence[Mapping[str, Any]], sure: Sequence[int]) -> list[str]:
        """Why nothing is said at matched KL, of all or of some methods."""
        if not self._plain():
            return [
                "Nothing is compared at matched KL: it needs answers drawn from the policies as they are "
                "(evaluation.temperature=1 evaluation.top_p=1 evaluation.top_k=0)."
            ]
        few = {one["name"]: one["effective_answers"] for i, one in enumerate(methods) if i not in sure}
        said = ", ".join(f"{name} ({count:.1f})" for name, count in few.items())
        return [
            f"No verdict at matched KL about {said}: fewer than {self.kl_effective:g} effective answers per prompt "
            "stand behind its mixtures; ask for more evaluation.samples."
        ] * bool(few)

    def _budgets(self, study: Study, columns: Columns) -> list[float]:
        most = max(float(study.means(i)[:, columns.kl].max()) for i in range(len(study.seeds)))
        return np.linspace(0.0, max(most, 0.0), self.kl_steps + 1).tolist()

    def _pairs(self, names: Sequence[str], study: Study, fixed: Fixed, sure: Sequence[int]) -> list[dict[str, Any]]:
        """Every pair of methods, with one correction over all of their differences; at matched KL those of ``sure``.

        The sweep of reference points is that of the two alone: beside far better ones both could lie below all of it.
        """
        judged = {"verdicts": statistics.ranking(fixed), "at_matched_kl": statistics.at_budget(fixed, fixed.budget)}
        label = {"verdicts": "", "at_matched_kl": " at matched KL"}
        differences = {
            (a, b, part, name): study.difference(a, b, name + label[part], statistic)
            for a, b in combinations(range(len(names)), 2)
            for part, chosen in judged.items()
            if part == "verdicts" or {a, b} <= {*sure}
            for name, (statistic, _) in chosen.items()
        }
        found = verdicts(differences)
        pairs = []
        for a, b in combinations(range(len(names)), 2):
            pair: dict[str, Any] = {"a": names[a], "b": names[b], "covers": study.covers(a, b)}
            for part, chosen in judged.items():
                entries = {name: found[a, b, part, name] for name in chosen if (a, b, part, name) in found}
                pair[part] = entries or None
            fronts = [study.means(i)[:, fixed.columns.scores] for i in (a, b)]
            sweep = reference_sweep(fronts, reach=self.sweep_reach, steps=self.sweep_steps)
            pair["by_reference_point"] = sweep.winner(0, 1)
            pairs.append(pair | {"said": said(pair)})
        return pairs


def _standardized(world: Mapping[str, Any] | None, unit: Unit) -> dict[str, Any] | None:
    if world is None:
        return None
    return {"front": unit(np.array(world["front"])).tolist()}


def _unit_facts(unit: Unit, objectives: Sequence[str]) -> dict[str, Any]:
    rule = "mean and standard deviation of the judge's scores of all reference answers, every run with the same weight"
    alike = [objectives[i] for i in unit.constant]
    if alike:
        rule += f"; the deviation of {', '.join(alike)} is 0 there and taken as 1"
    return {"mean": unit.mean.tolist(), "std": unit.std.tolist(), "answers": unit.answers, "rule": rule}


def _warnings(table: Mapping[str, Any], unit: Unit, objectives: Sequence[str]) -> list[str]:
    found = [
        f"All reference answers score alike in {objectives[i]}: its unit is the judge's own, not a standard deviation."
        for i in unit.constant
    ]
    found += [
        f"Which of {pair['a']} and {pair['b']} has more hypervolume depends on the reference point."
        for pair in table["pairs"]
        if pair["by_reference_point"] == "depends on the reference point"
        and pair["verdicts"]["hypervolume"]["verdict"] != "undecided"  # a claim that another point would turn
    ]
    cut = {m["name"]: 1 - min(point["ended"] for point in m["points"]) for m in table["methods"]}
    found += [
        f"{name}: up to {share:.0%} of its answers at a preference did not end; they were cut off and are judged so."
        for name, share in cut.items()
        if share >= TOLD
    ]
    places = [place for place, nats in enumerate(table["kl_budget"]["values"]) if nats == 0]
    if places and any(method["steered"] for method in table["methods"]):
        found.append(
            f"The KL budget is 0 at {len(places)} of {len(table['preferences'])} preferences, where the KL of a method "
            "cannot be told from 0: verdicts at matched KL say little; name evaluation.kl_budget, or ask more prompts."
        )
    return found
