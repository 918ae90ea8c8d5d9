"""How often intervals of front indicators hold the truth, in simulated studies where the truth is known.

    python benchmarks/interval_coverage.py studies=2000 samples=400 out=coverage.json
    python benchmarks/interval_coverage.py studies=2000 samples=200 parts=matched

A score is truth + prompt (shared by preferences and runs; its level and its slope along the preference) + prompt of the
run + seed (level, slope, and one per preference) + noise per seed, preference and prompt.  Two runs with 11 preferences
and two objectives share their prompts.  With one seed the truth is that of the trained policies, with three it is that
of new seeds.  Prints the share of studies whose 95 % interval holds the truth, in percent, for the interval of
``mora.functional.bootstrap`` beside the usual ones (nested resampling of prompts and seeds); the same for indicators of
steering, with and without correction of the bias; then how often at least one of five methods that equal the baseline
is called different, before and after Holm's correction.  Takes five to ten minutes.

``parts`` names some of fronts, paired, steering, families, matched.  Paired: three or five seeds whose luck is mostly
common to both runs, with seeds drawn for both at once and, beside that, for each by itself.

Matched: hypervolume and inner product at matched KL, as ``evaluation=compare`` computes them: each preference is
granted two standard errors less than the least mean KL of the two runs, or ``budget`` nats.  Eight answers to a prompt
have normal log-ratios, N(k, 2k) of the policy and N(-k, 2k) of the reference policy with k the KL of the prompt, and
scores that rise with them; so the geometric mixture at exponent a has KL a^2 k and a times the gain.
KL is skewed over prompts, partly shared by runs, and grows with the gain; a run is worth 0 before training.  Budget and
reference point are held fixed: the truth of a study is the statistic of the true mean cells at its budget and point.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from made_by import made_by
from numpy.typing import NDArray
from scipy.stats import norm

from mora.evaluation.judged import EXPONENTS, Columns
from mora.evaluation.pairing import Origin
from mora.evaluation.statistics import Fixed, at_budget, granted_kl, matched
from mora.evaluation.study import Study
from mora.functional.bootstrap import bootstrap, interval_of
from mora.functional.comparison import pooled_reference_point
from mora.functional.mixing import geometric_path
from mora.functional.pareto import default_grid, hypervolume
from mora.functional.stats import holm, p_value, verdict
from mora.functional.steering import expected_utility, inner_product, kendall_tau, steering_regret

Floats = NDArray[np.float64]
Statistics = Callable[[Floats], Floats]  # of many fronts (..., P, 2)
Named = dict[str, Statistics]

ERRORS_BELOW = 2.0  # standard errors, the default of evaluation.kl_errors_below
LEVEL = 0.95
GRID = default_grid(2)[::-1]  # weights of objective 0 fall from 1 to 0
REFERENCE = np.array([-0.5, -0.5])
ARC = np.stack([np.sin(GRID[:, 0] * np.pi / 2), np.sin(GRID[:, 1] * np.pi / 2)], axis=1)
PROMPT, SLOPE, RUN = 0.8, 0.4, 0.3  # standard deviations over prompts
SEED = (0.05, 0.05, 0.03)  # over seeds: level, slope, single preference
METHODS = ("percentile", "basic", "BCa", "mora")
STEERING_METHODS = ("percentile", "BCa", "mora", "mora, bias kept")
MATCHED_METHODS = ("percentile", "mora", "mora, bias kept")
PAIRED_METHODS = ("percentile", "mora", "mora, seeds apart")
PARTS = "fronts,paired,steering,families,matched"
ANSWERS, ANSWER = 8, 0.5  # to a prompt, at matched KL, and the standard deviation of the score of one
SPREAD = 0.7 + 0.6 * np.abs(GRID[:, 0] - GRID[:, 1])
SPREAD /= SPREAD.mean()  # KL along the front: more at its ends
DEARER = 0.3  # share of the gain that grows with the KL of a prompt
LUCK = 0.1  # standard deviation over seeds of the KL, as a share of it


@dataclass(frozen=True, kw_only=True)
class World:
    """True fronts (P, 2) of the runs, the standard deviation of the noise, and a factor to those over prompts."""

    fronts: tuple[Floats, ...]
    noise: float
    prompts: float = 1.0
    skewed: bool = False
    sizes: tuple[int, int] = (16, 64)  # numbers of prompts
    seeds: tuple[float, float, float] = SEED
    kl: tuple[float, float] | None = None  # mean nats of the runs
    common: float = 0.0  # share of the variance over seeds that both runs have in common
    repeats: tuple[int, ...] = (1, 3)  # numbers of seeds


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
MATCHED = {
    "KL apart: 2.4 and 1.8 nats": World(fronts=(ARC, 0.93 * ARC), noise=0.2, kl=(2.4, 1.8)),
    "KL even: 2.0 nats each": World(fronts=(ARC, 0.93 * ARC), noise=0.2, kl=(2.0, 2.0)),
}
PAIRED = {
    f"paired: {100 * common:.0f} % of the luck of seeds in common": World(
        fronts=(ARC, ARC - 0.03), noise=0.2, seeds=(0.1, 0.1, 0.05), common=common, repeats=(3, 5)
    )
    for common in (0.95, 0.5, 0.0)
}
ALL = WORLDS | MATCHED | PAIRED


def areas(fronts: Floats, reference: Floats = REFERENCE) -> Floats:
    """Hypervolume of many fronts (..., P, 2) at once; ``check`` holds this and the next against those shipped."""
    above = np.maximum(fronts - reference, 0.0)
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

    def luck() -> Floats:
        level, slope, single = world.seeds
        of_level, of_slope = generator.normal(size=(2, seeds, 1, 1, 2))
        return (level * of_level + slope * tilt * of_slope) + single * generator.normal(size=(seeds, len(GRID), 1, 2))

    both = np.sqrt(world.common) * luck() if world.common else 0.0
    for front in world.fronts:
        policies = front[:, None] + both + np.sqrt(1 - world.common) * luck()
        own = world.prompts * RUN * generator.normal(size=(prompts, 2))
        noise = world.noise * generator.normal(size=(seeds, len(GRID), prompts, 2))
        scores.append(policies + shared + own + noise)
        truths.append(policies[0, :, 0] if seeds == 1 else front)
    return (scores, truths) if world.kl is None else spending(world, scores, truths, PROMPT * levels, generator)


def spending(
    world: World, scores: list[Floats], truths: list[Floats], levels: Floats, generator: np.random.Generator
) -> tuple[list[Floats], list[Floats]]:
    """Cells (S, P, X, C) in the order of ``Columns(2)``, without wins, and their true means (P, C)."""
    seeds, points, prompts, _ = scores[0].shape
    shared = generator.exponential(size=prompts)
    cells, means = [], []
    for run, front, truth, nats in zip(scores, world.fronts, truths, world.kl, strict=True):
        single, luck = generator.exponential(size=(seeds, points, prompts)), LUCK * generator.normal(size=(seeds, 1, 1))
        share = (1 + luck * (seeds > 1)) * (0.5 * shared + 0.3 * generator.exponential(size=prompts) + 0.2 * single)
        gained = run + DEARER * front[:, None] * (share - 1)[..., None]
        base = levels + world.noise * generator.normal(size=(seeds, 1, prompts, 2))
        cells.append(answered(gained, np.broadcast_to(base, run.shape), nats * SPREAD[:, None] * share, generator))
        spent = nats * SPREAD[:, None]
        path = (truth[:, None] * EXPONENTS[:, None]).reshape(points, -1)
        zeros = np.zeros((points, 4)), np.zeros((points, 2)), np.zeros((points, len(EXPONENTS)))
        means.append(np.concatenate([truth, zeros[0], spent, zeros[1], spent * EXPONENTS**2, zeros[2], path], axis=-1))
    return cells, means


def answered(gained: Floats, base: Floats, kl: Floats, generator: np.random.Generator) -> Floats:
    """Cells of answers to each prompt: of a policy worth ``gained`` (S, P, X, 2) and a reference worth ``base``."""
    spread = np.sqrt(2 * kl)[..., None]
    ratios = [sign * kl[..., None] + spread * generator.normal(size=(*kl.shape, ANSWERS)) for sign in (1, -1)]
    along = [(one + kl[..., None]) / (2 * kl[..., None]) for one in ratios]  # 1 and 0 on average
    own, reference = (
        base[..., None, :]
        + place[..., None] * (gained - base)[..., None, :]
        + ANSWER * generator.normal(size=(*place.shape, 2))
        for place in along
    )
    path = geometric_path(*ratios, own, reference, EXPONENTS)
    nothing = np.zeros(gained.shape)
    parts = [own.mean(-2), reference.mean(-2), nothing, ratios[0].mean(-1, keepdims=True), nothing]
    return np.concatenate([*parts, path.kl, path.effective, path.values.reshape(*kl.shape, -1)], axis=-1)


def held(cells: list[Floats], nats: float | None) -> Fixed:
    """What ``Compare`` computes from the runs of a study and then holds fixed; ``nats`` is its ``kl_budget``."""
    means, columns = [run.mean((0, 2)) for run in cells], Columns(2)
    fronts = [mean[:, columns.scores] for mean in means]
    z = pooled_reference_point([*fronts, *(mean[:, columns.reference] for mean in means)], margin=0.1)
    drawn = bootstrap([run[..., columns.kl, None] for run in cells], samples=100, seed=0, new_seeds=len(cells[0]) > 1)
    errors = [run.resampled[..., 0].std(0, ddof=1) for run in drawn]
    least = granted_kl([mean[:, columns.kl] for mean in means], errors, errors_below=ERRORS_BELOW)
    budget = least if nats is None else np.full(len(GRID), nats)
    return Fixed(columns=columns, grid=GRID, z=z, pooled=np.concatenate(fronts), front=None, budget=budget)


def at_matched_kl(cells: list[Floats], nats: float | None) -> Named:
    """Of many cells (..., P, C) at once; ``check_matched`` holds them against those shipped."""
    fixed = held(cells, nats)

    def points(many: Floats) -> Floats:
        return matched(many, fixed, fixed.budget)

    return {
        "hypervolume": lambda many: areas(points(many), fixed.z),
        "inner product": lambda many: utilities(points(many)),
    }


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
    name: str, seeds: int, prompts: int, studies: int, samples: int, statistics: Callable[[list[Floats]], Named]
) -> dict[str, dict[str, list[float]]]:
    """Per statistic and method: share of studies that hold the truth, that lie above it, and the mean width."""
    found: dict[str, dict[str, list[tuple[bool, bool, float]]]] = {}
    for number in range(studies):
        generator = np.random.default_rng([number, seeds, prompts, list(ALL).index(name)])
        scores, truths = study(ALL[name], seeds, prompts, generator)
        apart = bootstrap(scores, samples=samples, seed=number, new_seeds=seeds > 1)
        replicates = bootstrap(scores, samples=samples, seed=number, new_seeds=seeds > 1, streams=(0, 0))
        fronts, without = nested(scores, samples, generator)
        for indicator, statistic in statistics(scores).items():
            values, alone = ([run.mapped(statistic) for run in drawn] for drawn in (replicates, apart))
            paired = name in PAIRED
            draws, lacking = [statistic(front) for front in fronts], [statistic(front) for front in without]
            truth = [float(statistic(front)) for front in truths]
            for label, which in _asked(indicator, ALL[name]):
                one = alone[which]
                if paired and len(one) == 2:
                    one = [values[0].less(values[1])]
                ours = interval_of(one, level=LEVEL, bias_corrected=True)
                ends = usual(ours.estimate, _signed(draws[which]), _signed(lacking[which]))
                ends["mora"] = (ours.low, ours.high)
                kept = interval_of(one, level=LEVEL, bias_corrected=False)
                ends["mora, bias kept"] = (kept.low, kept.high)
                if paired:
                    single = interval_of(alone[which], level=LEVEL, bias_corrected=True)
                    ends["mora, seeds apart"] = (single.low, single.high)
                target = float(_signed(truth[which]))
                for method, (low, high) in ends.items():
                    row = (low <= target <= high, low > target, high - low)
                    found.setdefault(label, {}).setdefault(method, []).append(row)
    return {
        label: {method: np.mean(rows, axis=0).tolist() for method, rows in methods.items()}
        for label, methods in found.items()
    }


def _asked(indicator: str, world: World) -> list[tuple[str, slice]]:
    second = [] if world.kl is None else [(f"{indicator}, B", slice(1, 2))]
    return [(indicator, slice(0, 1)), *second, (f"{indicator}, A - B", slice(0, 2))]


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


def check_matched(cells: list[Floats]) -> None:
    """Intervals at matched KL, of a run and of a difference, equal those of the shipped study and statistics."""
    fixed, ours = held(cells, None), at_matched_kl(cells, None)
    origins = [[Origin(seed=seed, stands_on={}) for seed in range(len(run))] for run in cells]
    theirs = Study(cells, origins, level=LEVEL, resamples=20, seed=0)
    replicates = bootstrap(cells, samples=20, seed=0, new_seeds=len(cells[0]) > 1)
    for name, (statistic, _) in at_budget(fixed, fixed.budget).items():
        values = [run.mapped(ours[name.replace("_", " ")]) for run in replicates]
        for found, count in ((theirs.interval(0, name, statistic), 1), (theirs.difference(0, 1, name, statistic), 2)):
            expected = interval_of(values[:count], level=LEVEL, bias_corrected=True)
            assert np.allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-9), name


def table(
    statistics: Callable[[list[Floats]], Named], worlds: list[str], methods: tuple[str, ...], studies: int, samples: int
) -> dict:
    """Coverage in each world, with one and three seeds and few and more prompts, printed as it comes."""
    print("\n| world | seeds | prompts | statistic | " + " | ".join(methods) + " | width, mora / beside |")
    print("|" + " --- |" * (5 + len(methods)))
    report = {}
    for name in worlds:
        for seeds in ALL[name].repeats:
            for prompts in ALL[name].sizes:
                found = coverage(name, seeds, prompts, studies, samples, statistics)
                report[f"{name}; {seeds}; {prompts}"] = found
                for label, cells in found.items():
                    shares = " | ".join(f"{cells[method][0]:.1%}" for method in methods)
                    beside = cells.get("mora, seeds apart", cells["percentile"])
                    where = f"{name if name in PAIRED else name.split(':')[0]} | {seeds} | {prompts}"
                    print(f"| {where} | {label} | {shares} | {cells['mora'][2]:.3f} / {beside[2]:.3f} |", flush=True)
    return report


def main() -> None:
    """Simulate and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    studies, samples = int(named.get("studies", "2000")), int(named.get("samples", "400"))
    begin, worlds, parts, report = time.monotonic(), list(WORLDS), named.get("parts", PARTS).split(","), {}
    first, _ = study(WORLDS[worlds[0]], 1, 16, np.random.default_rng(0))
    check(bootstrap(first, samples=20, seed=0, new_seeds=False)[0].resampled)
    print(made_by())
    bound = 3 * np.sqrt(LEVEL * (1 - LEVEL) / studies)
    print(f"{studies} studies; {LEVEL:.0%} +- three Monte Carlo errors is {LEVEL - bound:.1%} to {LEVEL + bound:.1%}")
    if "fronts" in parts:
        report |= table(lambda _: STATISTICS, worlds, METHODS, studies, samples)
    if "paired" in parts:
        report |= table(lambda _: STATISTICS, list(PAIRED), PAIRED_METHODS, studies, samples)
    if "steering" in parts:
        found = table(lambda _: STEERING, worlds[:1], STEERING_METHODS, studies, samples)
        report |= {f"steering; {key}": value for key, value in found.items()}
    if "families" in parts:
        report |= all_families(studies, samples)
    if "matched" in parts:
        for seeds in (1, 3):
            check_matched(study(MATCHED["KL even: 2.0 nats each"], seeds, 16, np.random.default_rng(0))[0])
        nats = float(named["budget"]) if "budget" in named else None
        report |= table(lambda cells: at_matched_kl(cells, nats), list(MATCHED), MATCHED_METHODS, studies, samples)
    print(f"\n{(time.monotonic() - begin) / 60:.1f} minutes")
    if "out" in named:
        Path(named["out"]).write_text(json.dumps(report, indent=2) + "\n")


def all_families(studies: int, samples: int) -> dict[str, list[float]]:
    """``families`` in three kinds of studies, printed as they come."""
    print("\n| five methods equal the baseline | prompts | any called, alone | any called, Holm |\n|" + " --- |" * 4)
    report = {}
    for label, seeds, noise, new in (
        ("1 seed, policies equal", 1, False, False),
        ("3 seeds, new seeds", 3, True, True),
        ("1 seed, equal but for the luck of the seed", 1, True, False),
    ):
        for prompts in (16, 64):
            alone, corrected = families(seeds, prompts, studies, samples, seed_noise=noise, new_seeds=new)
            report[f"family; {label}; {prompts}"] = [alone, corrected]
            print(f"| {label} | {prompts} | {alone:.1%} | {corrected:.1%} |", flush=True)
    return report


if __name__ == "__main__":
    main()
