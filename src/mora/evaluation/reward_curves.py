"""The curves of a comparison of reward models: densities of scores and margins, ROC, calibration, risk over coverage.

Scores of different runs share no unit.  Each run's are taken in standard deviations of its own scores on the pairs,
from their mean; in that unit Scott's bandwidth is the same for all runs, and so is the grid.  Curves of several seeds
are means over seeds at equal places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.evaluation import distributions
from mora.functional.pairs import credits

Floats = NDArray[np.float64]
Line = Mapping[str, Any]
Said = tuple[Mapping[str, Any], Sequence[Line]]  # reward.json and the rows of pairs.csv of one run


def curves(
    methods: Mapping[str, Sequence[Said]], objectives: Sequence[str], *, points: int, density_points: int, bins: int
) -> dict[str, Any]:
    """The table ``reward_curves.json``: per objective a grid, and the curves of each method.

    Pairs with a tied label have no better answer and are left out, but for calibration.  An objective without a decided
    pair has no curves.
    """
    found = {}
    for objective in objectives:
        decided = {
            name: [
                [line for line in lines if line["objective"] == objective and line["label"] != 0.5] for _, lines in said
            ]
            for name, said in methods.items()
        }
        if not next(iter(decided.values()))[0]:
            continue
        sides = {name: [standardized(lines) for lines in seeds] for name, seeds in decided.items()}
        bandwidth = distributions.scott(np.concatenate(next(iter(sides.values()))[0])) or 1.0
        samples = [
            side for seeds in sides.values() for better, worse in seeds for side in (better, worse, better - worse)
        ]
        grid = distributions.common_grid(samples, bandwidth, density_points)
        edges = np.linspace(grid[0], grid[-1], bins + 1)
        found[objective] = {
            "bandwidth": bandwidth,
            "grid": grid.tolist(),
            "edges": edges.tolist(),
            "methods": {
                name: {
                    "densities": _densities(sides[name], grid, edges, bandwidth),
                    "roc": _roc(sides[name], points),
                    "risk": _risk(decided[name], points),
                    "calibration": _calibration([table["calibration"][objective]["bins"] for table, _ in said]),
                    "gold": said[0][0].get("agreement", {}).get(objective),
                }
                for name, said in methods.items()
            },
        }
    return found


def standardized(lines: Sequence[Line]) -> tuple[Floats, Floats]:
    """Scores (n,) of the better and of the worse answers of decided pairs: mean 0 and deviation 1 over both.

    Scores that are all equal keep their unit.
    """
    first = np.array([line["label"] > 0.5 for line in lines])
    score_0, score_1 = (np.array([line[key] for line in lines], dtype=np.float64) for key in ("score_0", "score_1"))
    both = np.concatenate([score_0, score_1])
    spread = both.std() if np.ptp(both) > 0 else 1.0
    better, worse = np.where(first, score_1, score_0), np.where(first, score_0, score_1)
    return (better - both.mean()) / spread, (worse - both.mean()) / spread


def _densities(sides: Sequence[tuple[Floats, Floats]], grid: Floats, edges: Floats, bandwidth: float) -> dict[str, Any]:
    """Kernel density and histogram of better and worse answers and of the margins between them, all seeds together."""
    better, worse = (np.concatenate([pair[side] for pair in sides]) for side in (0, 1))
    samples = {"better": better, "worse": worse, "margin": better - worse}
    return {
        name: {
            "density": distributions.kernel_density(sample, grid, bandwidth).tolist(),
            "histogram": distributions.histogram(sample, edges).tolist(),
        }
        for name, sample in samples.items()
    }


def _roc(sides: Sequence[tuple[Floats, Floats]], points: int) -> dict[str, Any]:
    """True positive rates at even false positive rates, mean over seeds."""
    rates = np.linspace(0.0, 1.0, points)
    heights = [distributions.at_rates(distributions.roc(better, worse), rates) for better, worse in sides]
    return {"false_positive": rates.tolist(), "true_positive": np.mean(heights, axis=0).tolist()}


def _risk(seeds: Sequence[Sequence[Line]], points: int) -> dict[str, Any]:
    """Error rates over coverage, mean over seeds: leaving out small margins, and large spreads where they vary."""
    credits = [_credit(lines) for lines in seeds]
    margins = [-np.abs([line["log_odds"] for line in lines]) for lines in seeds]
    spreads = [np.array([line["spread"] for line in lines], dtype=np.float64) for lines in seeds]
    found: dict[str, Any] = {}
    for name, doubts in (("margin", margins), ("spread", spreads)):
        known = name == "margin" or all(np.ptp(doubt) > 0 for doubt in doubts)
        drawn = [distributions.risk_curve(d, c, points) for d, c in zip(doubts, credits, strict=True)]
        found["coverage"] = drawn[0][0].tolist()
        found[name] = np.mean([risk for _, risk in drawn], axis=0).tolist() if known else None
    return found


def _credit(lines: Sequence[Line]) -> Floats:
    gap = np.array([line["score_1"] - line["score_0"] for line in lines], dtype=np.float64)
    return credits(gap, np.array([line["label"] for line in lines], dtype=np.float64))


def _calibration(seeds: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, list[float]]:
    """Confidence and accuracy of each bin, mean over seeds: all have the same pairs, so the same number of bins."""
    return {
        key: np.mean([[row[key] for row in bins] for bins in seeds], axis=0).tolist()
        for key in ("confidence", "accuracy")
    }
