"""How often intervals of a comparison of reward models hold the truth, in simulated studies where the truth is known.

    python benchmarks/reward_interval_coverage.py studies=2000 samples=400

The margin of the better answer is mean + prompt (shared by models) + prompt of the model + seed + noise of the pair;
a pair is right where it is above 0, and costs softplus(-margin) nats.  ``even``: three pairs on average, whatever the
prompt.  ``uneven``: more of them where the margins are smaller, up to ten or so, which few prompts carry.  Two models
judge the same pairs, A a little better than B.  With one seed the truth is that of these models on new prompts, with
three that of new seeds too.  ``common``: seeds move both models alike but for a twentieth of the variance, and are
paired.

Prints the share of studies whose nominal 95 % interval holds the truth, in percent: accuracy and log-loss of A, and
their differences A - B, by ``evaluation.study`` as ``evaluation=compare_rewards`` computes them; beside it, for one
seed, an interval that takes pairs for independent.  Then how often two equal models are told apart in any of four
comparisons, before and after Holm's correction.  Takes about ten minutes.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from made_by import made_by
from numpy.typing import NDArray
from scipy.stats import norm

from mora.evaluation.pairing import Origin
from mora.evaluation.reward_comparison import BRIER, COLUMNS, CREDIT, DECIDED, LABELLED, LOSS, ratio
from mora.evaluation.study import Study
from mora.functional.stats import holm, p_value

Floats = NDArray[np.float64]
LEVEL = 0.95
MEANS = (0.75, 0.6)  # of the margins of A and B
SHARED, OWN, PAIR, SEED = 0.7, 0.3, 0.8, 0.1  # standard deviations of margins
COMMON = 0.95  # share of the variance over seeds that both models have, where seeds are paired
MORE = 2.0  # expected further pairs of a prompt of average margin
METRICS = ("accuracy", "log_loss")


def pairs_of(level: Floats, uneven: bool) -> Floats:
    """Expected pairs of prompts by the shared part of their margins."""
    return 1 + MORE * (np.exp(-level) if uneven else np.ones_like(level))


def draw(
    generator: np.random.Generator,
    prompts: int,
    luck: tuple[Floats, ...],
    means: tuple[float, float],
    uneven: bool,
) -> tuple[list[Floats], list[list[Floats]]]:
    """Cells (S, 1, X, C) of both models, and their margins (pairs,) by seed."""
    level = SHARED * generator.normal(size=prompts)
    counts = 1 + generator.poisson(pairs_of(level, uneven) - 1)
    where = np.repeat(np.arange(prompts), counts)
    found, margins = [], []
    for mean, seeds in zip(means, luck, strict=True):
        own = level + OWN * generator.normal(size=prompts)
        margin = [mean + shift + own[where] + PAIR * generator.normal(size=len(where)) for shift in seeds]
        cells = np.zeros((len(seeds), 1, prompts, COLUMNS))
        for s, values in enumerate(margin):
            for column, numbers in (
                (CREDIT, values > 0),
                (DECIDED, np.ones(len(values))),
                (LOSS, np.logaddexp(0, -values)),
                (BRIER, 0 * values),
                (LABELLED, np.ones(len(values))),
            ):
                np.add.at(cells[s, 0, :, column], where, numbers)
        found.append(cells)
        margins.append(margin)
    return found, margins


def truth(mean: float, metric: str, extra: float, uneven: bool) -> float:
    """The metric over all prompts, by quadrature; ``extra`` is the variance that seeds add to a margin."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    rest = np.sqrt(OWN**2 + PAIR**2 + extra)
    inner = (
        norm.cdf((mean + SHARED * nodes) / rest)
        if metric == "accuracy"
        else (np.logaddexp(0, -(mean + SHARED * nodes[:, None] + rest * nodes)) * weights).sum(1)
    )
    share = weights * pairs_of(SHARED * nodes, uneven)
    return float((share * inner).sum() / share.sum())


def naive(values: Floats, true: float) -> bool:
    """Whether an interval that takes pairs for independent holds the truth."""
    return bool(abs(values.mean() - true) <= norm.ppf((1 + LEVEL) / 2) * values.std(ddof=1) / np.sqrt(len(values)))


def lucks(generator: np.random.Generator, seeds: int, common: float) -> tuple[Floats, ...]:
    """What seeds add to the margins of both models, each (S,)."""
    both = np.sqrt(common) * generator.normal(size=seeds) if common else 0.0
    return tuple(SEED * (both + np.sqrt(1 - common) * generator.normal(size=seeds)) for _ in MEANS)


def origins(seeds: int, common: float) -> list[list[Origin]]:
    """What the seeds of both models stand on: on the same data, where their luck is common."""
    return [[Origin(seed=s, stands_on={"data": f"{s}"} if common else {}) for s in range(seeds)] for _ in MEANS]


def cover(prompts: int, seeds: int, studies: int, samples: int, uneven: bool, common: float) -> dict[str, float]:
    """Shares of studies whose intervals hold the truth, in percent."""
    held: dict[str, list[bool]] = {}
    for study in range(studies):
        generator = np.random.default_rng([prompts, seeds, study])
        luck = lucks(generator, seeds, common)
        stacked, margins = draw(generator, prompts, luck, MEANS, uneven)
        judged = Study(stacked, origins(seeds, common), level=LEVEL, resamples=samples, seed=study)
        for metric in METRICS:
            centers = [m + float(own[0]) if seeds == 1 else m for m, own in zip(MEANS, luck, strict=True)]
            true = [truth(center, metric, 0.0 if seeds == 1 else SEED**2, uneven) for center in centers]
            one = judged.interval(0, metric, ratio(0, metric))
            gap = judged.difference(0, 1, metric, ratio(0, metric))
            held.setdefault(f"{metric}, A", []).append(one.low <= true[0] <= one.high)
            held.setdefault(f"{metric}, A - B", []).append(gap.low <= true[0] - true[1] <= gap.high)
            if seeds == 1:
                values = [m[0] > 0 if metric == "accuracy" else np.logaddexp(0, -m[0]) for m in margins]
                held.setdefault(f"{metric}, A, by pairs", []).append(naive(values[0].astype(float), true[0]))
    return {name: 100 * float(np.mean(found)) for name, found in held.items()}


def false_calls(
    prompts: int, seeds: int, studies: int, samples: int, uneven: bool, common: float
) -> tuple[float, float]:
    """Percent of studies that tell models of equal means apart, in one of four comparisons: raw, and after Holm."""
    raw, corrected = [], []
    for study in range(studies):
        generator = np.random.default_rng([7, prompts, seeds, study])
        p = []
        for _ in range(2):  # two objectives
            luck = tuple(one * (seeds > 1) for one in lucks(generator, seeds, common))
            stacked, _ = draw(generator, prompts, luck, (MEANS[0], MEANS[0]), uneven)
            judged = Study(stacked, origins(seeds, common), level=LEVEL, resamples=samples, seed=study)
            p += [p_value(judged.difference(0, 1, metric, ratio(0, metric)), 0.0) for metric in METRICS]
        raw.append(min(p) <= 1 - LEVEL)
        corrected.append(bool((holm(p) <= 1 - LEVEL).any()))
    return 100 * float(np.mean(raw)), 100 * float(np.mean(corrected))


def main() -> None:
    given = {"studies": 2000, "samples": 400} | {k: int(v) for k, v in (a.split("=") for a in sys.argv[1:])}
    start = time.perf_counter()
    sizes = (given["studies"], given["samples"])
    print(made_by())
    bound = 300 * np.sqrt(LEVEL * (1 - LEVEL) / sizes[0])
    print(f"{sizes[0]} studies: three Monte Carlo errors are {bound:.1f} %")
    for uneven in (False, True):
        for seeds, common in ((1, 0.0), (3, 0.0), (3, COMMON)):
            for prompts in (16, 64, 256):
                found = cover(prompts, seeds, *sizes, uneven, common)
                raw, corrected = false_calls(prompts, seeds, sizes[0] // 2, sizes[1], uneven, common)
                said = ", ".join(f"{name} {share:.1f}" for name, share in found.items())
                kind = f"{'uneven' if uneven else 'even'}{', common' if common else ''}"
                print(f"{kind}, {prompts} prompts, {seeds} seed(s): {said}")
                print(f"   equal models told apart: {raw:.1f} raw, {corrected:.1f} after Holm", flush=True)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
