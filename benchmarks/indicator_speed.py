"""Time of each indicator on a front of 1,000 points, beside pymoo and moocore where these have it.

    python benchmarks/indicator_speed.py points=1000 objectives=2,4,6 repeats=5

The points are random on the positive part of a sphere, so none dominates another.  All run in one process, in turn; the
least of several times counts.  A ratio above 1 means that mora takes longer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import moocore
import numpy as np
from made_by import made_by
from numpy.typing import NDArray
from pymoo.indicators.hv import HV
from pymoo.indicators.igd_plus import IGDPlus
from pymoo.indicators.spacing import SpacingIndicator
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from mora.functional import pareto, steering
from mora.functional.comparison import attainment_bands, reference_sweep

Floats = NDArray[np.float64]
Call = Callable[[], object]


def sphere(points: int, objectives: int, seed: int) -> Floats:
    """Random points of the positive unit sphere (P, M)."""
    drawn = np.abs(np.random.default_rng([seed, objectives]).normal(size=(points, objectives)))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def calls(points: Floats) -> dict[str, tuple[Call, Call | None, Call | None]]:
    """Per indicator: by mora, by pymoo, by moocore."""
    count, objectives = points.shape
    zero, loss = np.zeros(objectives), -points
    weights = np.random.default_rng(1).dirichlet(np.ones(objectives), size=count)
    reference = sphere(count, objectives, seed=2)
    nds = NonDominatedSorting()
    sets: dict[str, tuple[Call, Call | None, Call | None]] = {
        "hypervolume": (
            lambda: pareto.hypervolume(points, zero),
            lambda: HV(ref_point=zero)(loss),
            lambda: moocore.hypervolume(points, ref=zero, maximise=True),
        ),
        "igd_plus": (
            lambda: pareto.igd_plus(points, reference),
            lambda: IGDPlus(-reference)(loss),
            lambda: moocore.igd_plus(points, reference, maximise=True),
        ),
        "non_dominated": (
            lambda: pareto.non_dominated(points),
            lambda: nds.do(loss, only_non_dominated_front=True),
            lambda: moocore.is_nondominated(points, maximise=True),
        ),
        "spacing": (lambda: pareto.spacing(points), lambda: SpacingIndicator()(loss), None),
        "spacing_schott": (lambda: pareto.spacing_schott(points), lambda: SpacingIndicator()(loss), None),
    }
    for function in (pareto.sparsity, pareto.sparsity_per_objective, pareto.span):
        sets[function.__name__] = (lambda function=function: function(points), None, None)
    for function in (
        steering.inner_product,
        steering.expected_utility,
        steering.steering_regret,
        steering.kendall_tau,
        steering.monotonicity_violations,
    ):
        sets[function.__name__] = (lambda function=function: function(points, weights), None, None)
    sets["max_utility_loss"] = (lambda: steering.max_utility_loss(points, reference, weights), None, None)
    if objectives == 2:
        size = count // 10
        runs, labels = points[: 10 * size].reshape(10, size, 2), np.repeat(np.arange(10), size)
        sets["attainment_bands, 10 runs"] = (
            lambda: attainment_bands(runs, [0.25, 0.5, 0.75]),
            None,
            lambda: moocore.eaf(loss[: 10 * size], labels, percentiles=[25, 50, 75]),
        )
    if objectives < 6:
        sets["reference_sweep, 10 steps"] = (
            lambda: reference_sweep([points, reference], reach=2.0, steps=10),
            None,
            None,
        )
    return sets


def least(functions: tuple[Call | None, ...], repeats: int) -> list[float | None]:
    """Least seconds of each, measured in turn after one call that does not count."""
    times: list[list[float]] = [[] for _ in functions]
    for number in range(repeats + 1):
        for function, found in zip(functions, times, strict=True):
            if function is not None:
                begin = time.perf_counter()
                function()
                found += [time.perf_counter() - begin] if number else []
    return [min(found) if found else None for found in times]


def main() -> None:
    """Measure and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    count, repeats = int(named.get("points", "1000")), int(named.get("repeats", "5"))
    print(f"{made_by()}\n")
    print("| indicator | objectives | ms | ratio to pymoo | ratio to moocore |\n|" + " --- |" * 5)
    for objectives in map(int, named.get("objectives", "2,4,6").split(",")):
        for name, functions in calls(sphere(count, objectives, seed=0)).items():
            ours, *others = least(functions, repeats)
            assert ours is not None
            ratios = " | ".join("" if other is None else f"{ours / other:.2f}" for other in others)
            print(f"| {name} | {objectives} | {1000 * ours:.2f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
