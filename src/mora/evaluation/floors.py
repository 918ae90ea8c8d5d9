"""What floors would cost: the optimum under each, over answers of the reference policy, with its multipliers.

The convex dual of the constrained problem on a sample (dual first: MoCAN, arXiv 2405.19544), solved again for each
floor and preference.  With few answers to a prompt the best are missing, so that a floor seems dearer than it is; the
effective number of answers says how far to trust it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mora import bounds
from mora.bounds import Number, Positive, Share
from mora.errors import InputError
from mora.evaluation import Run
from mora.evaluation.grid import preference_grid, steering_grid
from mora.files import read_lines, record_json
from mora.functional.tilting import constrained_optimum

Numbers = NDArray[np.float64]


@dataclass(kw_only=True)
class Floors:
    """``evaluation=floors``; the fields are the keys of ``conf/evaluation/floors.yaml``."""

    floors: Mapping[str, Sequence[Number]]
    kl_coef: Positive | None
    scorer: Literal["gold", "reward"] | None
    preferences: list[list[Share]] | None

    def __post_init__(self) -> None:
        bounds.check(self, "evaluation")
        for name, values in self.floors.items():
            if not isinstance(values, list) or not values:
                raise InputError(
                    f"evaluation.floors.{name}={values}: must be a list of floors, as in {{{name}: [0.5]}}"
                )

    def measure_run(self, run: Run) -> str:
        """Write ``floors.json``.

        Raises InputError for floors of no objective or of all, without a price of a nat, and for a scorer that the
        front lacks.
        """
        front = run.table("front", ["objectives", "judge", "points"])
        names = list(front["objectives"])
        unknown = [name for name in self.floors if name not in names]
        if unknown or not self.floors or len(self.floors) == len(names):
            raise InputError(
                f"evaluation.floors={{{', '.join(self.floors)}}}: name some of {', '.join(names)}, each with the "
                "floors to try, and leave one without"
            )
        kl_coef = self.kl_coef if self.kl_coef is not None else run.config["algo"].get("kl_coef")
        if not kl_coef:
            raise InputError(
                f"{run.folder.path}: was trained without a KL term; say what a nat costs: evaluation.kl_coef"
            )
        scorer = self.scorer or front["judge"]
        rows = [row for row in read_lines(run.folder.tables / "samples.jsonl") if row["preference"] is None]
        if not rows or scorer not in rows[0]:
            raise InputError(f"evaluation.scorer={scorer}: nothing of that name scored the answers of this front")
        grid = self.preferences
        if grid is None:
            grid = steering_grid([names.index(name) for name in self.floors], len(names))
        table = self.measure(_by_prompt(rows, scorer), names, preference_grid(grid, names), kl_coef=kl_coef)
        record_json(run.folder.tables / "floors.json", {"run": run.folder.id, "scorer": scorer} | table)
        return "floors"

    def measure(self, scores: Numbers, names: Sequence[str], grid: Numbers, *, kl_coef: float) -> dict[str, Any]:
        """The table, from scores (X, S, M) of S answers of the reference policy to each of X prompts."""
        floored = [name in self.floors for name in names]
        for preference in grid:
            if not preference[~np.array(floored)].sum() > 0:
                raise InputError(
                    f"evaluation.preferences: {preference.tolist()} gives no weight to an objective without a floor"
                )
        mean, std = scores.mean((0, 1)), scores.std((0, 1))
        flat = [name for name, deviation in zip(names, std, strict=True) if not deviation > 0]
        if flat:
            raise InputError(f"all answers of the reference policy have the same score of {flat[0]}: it has no unit")
        rewards = (scores - mean) / std
        even = np.full(scores.shape[:2], -np.log(scores.shape[1]))
        found = []
        for values in product(*self.floors.values()):
            asked = dict(zip(self.floors, map(float, values), strict=True))
            floors = np.array([asked.get(name, -np.inf) for name in names])
            for preference in grid:
                weights = np.where(np.isinf(floors), preference, 0.0)
                point = {"floors": asked, "preference": preference.tolist()}
                gains, limits = rewards @ (weights / weights.sum()), (floors - mean) / std
                try:
                    best = constrained_optimum(even, rewards, gains, floors=limits, kl_coef=kl_coef)
                except ValueError:  # no weighting of these answers reaches it
                    found.append(point | {"reached": False})
                    continue
                assert best.multipliers is not None
                found.append(
                    point
                    | {
                        "reached": True,
                        "multipliers": {name: float(best.multipliers[names.index(name)]) for name in asked},
                        "expected": (best.rewards * std + mean).tolist(),
                        "kl": best.kl,
                        "effective": float((1 / (np.exp(best.logps) ** 2).sum(-1)).mean()),
                    }
                )
        return {
            "objectives": list(names),
            "prompts": len(scores),
            "samples_per_prompt": scores.shape[1],
            "kl_coef": kl_coef,
            "reference": mean.tolist(),
            "points": found,
        }


def _by_prompt(rows: Sequence[Mapping[str, Any]], scorer: str) -> Numbers:
    """Scores (X, S, M) of rows that come prompt after prompt, as many answers to each."""
    samples = 1 + max(row["sample"] for row in rows)
    return np.array([row[scorer] for row in rows], dtype=np.float64).reshape(-1, samples, len(rows[0][scorer]))
