"""How often intervals of front indicators hold the truth, in simulated studies where the truth is known.

    python benchmarks/interval_coverage.py studies=2000 samples=400 out=coverage.json

A score is truth + prompt (shared by preferences and runs; its level and its slope along the preference) + prompt of the
run + seed (level, slope, and one per preference) + noise per seed, preference and prompt.  Two runs with 11 preferences
and two objectives share their prompts.  With one seed the truth is that of the trained policies, with three it is that
of new seeds.  Prints the share of studies whose 95 % interval holds the truth, in percent, for the interval of
``mora.functional.bootstrap`` beside the usual ones (nested resampling of prompts and seeds); the same for indicators of
steering, with and without correction of the bias; then how often at least one of five methods that equal the baseline
is called different, before and after Holm's correction.  Takes five to ten minutes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mora.functional.bootstrap import bootstrap, interval_of
from mora.functional.pareto import default_grid, hypervolume
from mora.functional.stats import holm, p_value, verdict
from mora.functional.steering import expected_utility, inner_product, kendall_tau, steering_regret

Floats = NDArray[np.float64]
Statistics = Callable[[Floats], Floats]  # of many fronts (..., P, 2)

LEVEL = 0.95
GRID = default_grid(2)[::-1]  # weights of objective 0 fall from 1 to 0
REFERENCE = np.array([-0.5, -0.5])
ARC = np.stack([np.sin(GRID[:, 0] * np.pi / 2), np.sin(GRID[:, 1] * np.pi / 2)], axis=1)
PROMPT, SLOPE, RUN = 0.8, 0.4, 0.3  # standard deviations over prompts
SEED = (0.05, 0.05, 0.03)  # over seeds: level, slope, single preference
METHODS = ("percentile", "basic", "BCa", "mora")
STEERING_METHODS = ("percentile", "BCa", "mora", "mora, bias kept")


@dataclass(frozen=True, kw_only=True)
class World:
    """True fronts (P, 2) of the runs, the standard deviation of the noise, and a factor to those over prompts."""

    fronts: tuple[Floats, ...]
    noise: float
    prompts: float = 1.0
    skewed: bool = False
    sizes: tuple[int, int] = (16, 64)  # numbers of prompts
    seeds: tuple[float, float, float] = SEED


WORLDS = {
    "clear: noise well below the steps of the front": World(fronts=(ARC, 0.93 * ARC), noise=0.2),
    "noisy: noise like the steps of the front": World(fronts=(ARC, 0.93 * ARC), noise=0.5),
    "collapsed: run A ignores its preference": World(fronts=(np.full_like(ARC, 0.7), 0.8 * ARC), noise=0.3),
    "skewed: exponential prompts, and as few as there may be": World(
        fronts=(ARC, 0.93 * ARC), noise=0.2, skewed=True, sizes=(8, 16)
    ),
    "equal: collapsed, and nothing but noise": World(
        fronts=(np.full_like(ARC, 0.7), 0.8 * ARC), noise=0.3, prompts=0.0, seeds=(0.0, 0.0, 0.0)
    ),
}


def areas(fronts: Floats) -> Floats:
    """Hypervolume of many fronts (..., P, 2) at once; ``check`` holds this and the next against those shipped."""
    above = np.maximum(fronts - REFERENCE, 0.0)
    order = np.argsort(-above[..., 0], axis=-1)
    first, second = (np.take_along_axis(above[..., j], order, axis=-1) for j in (0, 1))
    widths = first - np.concatenate([first[..., 1:], np.zeros_like(first[..., :1])], axis=-1)
    return np.asarray((widths * np.maximum.accumulate(second, axis=-1)).sum(-1))


def utilities(fronts: Floats) -> Floats:
    """Inner product of many fronts (..., P, 2) at once."""
    return np.asarray((fronts * GRID).sum(-1).mean(-1))


def best(fronts: Floats) -> Floats:
    """Expected utility of many fronts (..., P, 2) at once."""
    return np.asarray((fronts @ GRID.T).max(-2).mean(-1))


def taus(fronts: Floats) -> Floats:
    """Kendall's tau of objective 0 of many fronts (..., P, 2) at once; neither weights nor scores tie."""
    first, second = np.triu_indices(len(GRID), k=1)  # from more weight to less
    return np.asarray(np.sign(fronts[..., first, 0] - fronts[..., second, 0]).mean(-1))


STATISTICS = {"hypervolume": areas, "inner product": utilities}
STEERING = {
    "expected utility": best,
    "steering regret": lambda fronts: best(fronts) - utilities(fronts),
    "Kendall's tau": taus,
}
SHIPPED = {
    "hypervolume": lambda front: hypervolume(front, REFERENCE),
    "inner product": lambda front: inner_product(front, GRID),
    "expected utility": lambda front: expected_utility(front, GRID),
    "steering regret": lambda front: steering_regret(front, GRID),
    "Kendall's tau": lambda front: kendall_tau(front, GRID)[0],
}


def study(world: World, seeds: int, prompts: int, generator: np.random.Generator) -> tuple[list[Floats], list[Floats]]:
    """Scores (S, P, X, 2) of each run, and its true front: of these policies with one seed, else of new seeds."""
    tilt = (2 * GRID - 1)[:, None, :]
    levels = generator.exponential(size=(prompts, 2)) - 1 if world.skewed else generator.normal(size=(prompts, 2))
    shared = PROMPT * levels + SLOPE * tilt * generator.normal(size=(prompts, 2))
    shared *= world.prompts
    scores, truths = [], []
    for front in world.fronts:
        level, slope, single = world.seeds
        policies = front[:, None] + level * generator.normal(size=(seeds, 1, 1, 2))
        policies = policies + slope * tilt * generator.normal(size=(seeds, 1, 1, 2))
        policies = policies + single * generator.normal(size=(seeds, len(GRID), 1, 2))
        own = world.prompts * RUN * generator.normal(size=(prompts, 2))
        noise = world.noise * generator.normal(size=(seeds, len(GRID), prompts, 2))
        scores.append(policies + shared + own + noise)
        truths.append(policies[0, :, 0] if seeds == 1 else front)
    return scores, truths


def nested(scores: list[Floats], samples: int, generator: np.random.Generator) -> tuple[list[Floats], list[Floats]]:
    """The usual bootstrap: fronts (D, P, 2) of resampled prompts and seeds, and those without one prompt (X, P, 2)."""
    count = scores[0].shape[2]
    prompts = generator.multinomial(count, np.full(count, 1 / count), samples) / count
    draws, without = [], []
    for run in scores:
        policies = generator.multinomial(len(run), np.full(len(run), 1 / len(run)), samples) / len(run)
        by_seed = np.tensordot(prompts, run, axes=([1], [2]))  # (D, S, P, 2)
        draws.append(np.einsum("dspm,ds->dpm", by_seed, policies))
        mean = run.mean(0)
        without.append(np.moveaxis((mean.sum(1, keepdims=True) - mean) / (count - 1), 1, 0))
    return draws, without


def usual(estimate: float, draws: Floats, without: Floats) -> dict[str, tuple[float, float]]:
    """Percentile, basic and BCa intervals (Efron and Tibshirani, 1993)."""
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.quantile(draws, tails)
    below = np.clip((draws < estimate).mean(), 1 / len(draws), 1 - 1 / len(draws))
    shift, gaps = norm.ppf(below), without.mean() - without
    acceleration = (gaps**3).sum() / max(6 * (gaps**2).sum() ** 1.5, 1e-300)
    bent = shift + norm.ppf(tails)
    corrected = np.quantile(draws, norm.cdf(shift + bent / (1 - acceleration * bent)))
    return {
        "percentile": (low, high),
        "basic": (2 * estimate - high, 2 * estimate - low),
        "BCa": (corrected[0], corrected[1]),
    }


def coverage(
    name: str, seeds: int, prompts: int, studies: int, samples: int, statistics: dict[str, Statistics]
) -> dict[str, dict[str, list[float]]]:
    """Per statistic and method: share of studies that hold the truth, that lie above it, and the mean width."""
    found: dict[str, dict[str, list[tuple[bool, bool, float]]]] = {}
    for number in range(studies):
        generator = np.random.default_rng([number, seeds, prompts, list(WORLDS).index(name)])
        scores, truths = study(WORLDS[name], seeds, prompts, generator)
        replicates = bootstrap(scores, samples=samples, seed=number, new_seeds=seeds > 1)
        fronts, without = nested(scores, samples, generator)
        for indicator, statistic in statistics.items():
            values = [run.mapped(statistic) for run in replicates]
            draws, lacking = [statistic(front) for front in fronts], [statistic(front) for front in without]
            truth = [float(statistic(front)) for front in truths]
            for label, count in ((indicator, 1), (f"{indicator}, A - B", 2)):
                ours = interval_of(values[:count], level=LEVEL, bias_corrected=True)
                ends = usual(ours.estimate, _signed(draws[:count]), _signed(lacking[:count]))
                ends["mora"] = (ours.low, ours.high)
                kept = interval_of(values[:count], level=LEVEL, bias_corrected=False)
                ends["mora, bias kept"] = (kept.low, kept.high)
                target = float(_signed(truth[:count]))
                for method, (low, high) in ends.items():
                    row = (low <= target <= high, low > target, high - low)
                    found.setdefault(label, {}).setdefault(method, []).append(row)
    return {
        label: {method: np.mean(rows, axis=0).tolist() for method, rows in methods.items()}
        for label, methods in found.items()
    }


def _signed(values: list) -> Floats:
    return np.asarray(values[0] if len(values) == 1 else values[0] - values[1])


def families(seeds: int, prompts: int, studies: int, samples: int, *, seed_noise: bool, new_seeds: bool) -> list[float]:
    """Share of studies that call at least one of five equal methods different: each p-value alone, and by Holm."""
    world = World(fronts=(ARC,) * 6, noise=0.2, seeds=SEED if seed_noise else (0.0, 0.0, 0.0))
    false = []
    for number in range(studies):
        scores, _ = study(
            world, seeds, prompts, np.random.default_rng([number, seeds, prompts, len(WORLDS) + seed_noise])
        )
        runs = [run.mapped(areas) for run in bootstrap(scores, samples=samples, seed=number, new_seeds=new_seeds)]
        gaps = [interval_of([run, runs[0]], level=LEVEL, bias_corrected=True) for run in runs[1:]]
        adjusted = holm([p_value(gap, 0.0) for gap in gaps])
        alone = any(verdict(gap) != "undecided" for gap in gaps)
        false.append((alone, any(verdict(gap, p) != "undecided" for gap, p in zip(gaps, adjusted, strict=True))))
    return [float(share) for share in np.mean(false, axis=0)]


def check(fronts: Floats) -> None:
    """The vectorized statistics equal the shipped ones."""
    for name, statistic in (STATISTICS | STEERING).items():
        assert np.allclose(statistic(fronts), [SHIPPED[name](front) for front in fronts], rtol=1e-12, atol=1e-12), name


def table(
    statistics: dict[str, Statistics], worlds: list[str], methods: tuple[str, ...], studies: int, samples: int
) -> dict:
    """Coverage in each world, with one and three seeds and few and more prompts, printed as it comes."""
    print("\n| world | seeds | prompts | statistic | " + " | ".join(methods) + " | width, mora / percentile |")
    print("|" + " --- |" * (5 + len(methods)))
    report = {}
    for name in worlds:
        for seeds in (1, 3):
            for prompts in WORLDS[name].sizes:
                found = coverage(name, seeds, prompts, studies, samples, statistics)
                report[f"{name}; {seeds}; {prompts}"] = found
                for label, cells in found.items():
                    shares = " | ".join(f"{cells[method][0]:.1%}" for method in methods)
                    ratio = cells["mora"][2] / cells["percentile"][2]
                    where = f"{name.split(':')[0]} | {seeds} | {prompts}"
                    print(f"| {where} | {label} | {shares} | {ratio:.2f} |", flush=True)
    return report


def main() -> None:
    """Simulate and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    studies, samples = int(named.get("studies", "2000")), int(named.get("samples", "400"))
    begin, worlds = time.monotonic(), list(WORLDS)
    first, _ = study(WORLDS[worlds[0]], 1, 16, np.random.default_rng(0))
    check(bootstrap(first, samples=20, seed=0, new_seeds=False)[0].resampled)
    bound = 3 * np.sqrt(LEVEL * (1 - LEVEL) / studies)
    print(f"{studies} studies; {LEVEL:.0%} +- three Monte Carlo errors is {LEVEL - bound:.1%} to {LEVEL + bound:.1%}")
    report = table(STATISTICS, worlds, METHODS, studies, samples)
    report |= {
        f"steering; {key}": v for key, v in table(STEERING, worlds[:1], STEERING_METHODS, studies, samples).items()
    }
    print("\n| five methods equal the baseline | prompts | any called, alone | any called, Holm |\n|" + " --- |" * 4)
    for label, seeds, noise, new in (
        ("1 seed, policies equal", 1, False, False),
        ("3 seeds, new seeds", 3, True, True),
        ("1 seed, equal but for the luck of the seed", 1, True, False),
    ):
        for prompts in (16, 64):
            alone, corrected = families(seeds, prompts, studies, samples, seed_noise=noise, new_seeds=new)
            report[f"family; {label}; {prompts}"] = [alone, corrected]
            print(f"| {label} | {prompts} | {alone:.1%} | {corrected:.1%} |", flush=True)
    print(f"\n{(time.monotonic() - begin) / 60:.1f} minutes")
    if "out" in named:
        Path(named["out"]).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
