"""How often the interval of a share of cases in clusters holds the truth, in simulated studies.

    python benchmarks/share_interval_coverage.py studies=600

Cases of a prompt are right with a chance of the prompt's own, drawn from a beta distribution around the share: their
correlation within a prompt is 0 or 0.3.  ``even``: three cases of a prompt on average; ``uneven``: log-normal numbers.
Prints the percent of studies whose nominal 95 % interval (``functional.stats.share_within``) holds the share, and its
mean width.  Takes a minute.
"""

from __future__ import annotations

import sys

import numpy as np
from made_by import made_by

from mora.functional.stats import clustered_stderr, share_within

LEVEL, MORE, SPREAD = 0.95, 2.0, 0.7
CLUSTERS, SHARES, CORRELATIONS = (2, 3, 4, 8, 16, 64), (0.55, 0.75, 0.9, 0.97), (0.0, 0.3)


def cover(generator: np.random.Generator, clusters: int, share: float, correlation: float, uneven: bool) -> list[float]:
    """Whether the interval of one study holds the share, and its width."""
    sizes = np.exp(generator.normal(0, SPREAD, clusters)) if uneven else np.ones(clusters)
    index = np.repeat(np.arange(clusters), 1 + generator.poisson(MORE * sizes))
    chance = np.full(clusters, share)
    if correlation:
        total = (1 - correlation) / correlation
        chance = generator.beta(share * total, (1 - share) * total, clusters)
    right = (generator.random(len(index)) < chance[index]).astype(float)
    ends = share_within(float(right.mean()), float(clustered_stderr(right, index)), clusters, LEVEL)
    assert ends is not None
    return [ends[0] <= share <= ends[1], ends[1] - ends[0]]


def main() -> None:
    given = {"studies": 600} | {k: int(v) for k, v in (a.split("=") for a in sys.argv[1:])}
    print(made_by())
    bound = 300 * np.sqrt(LEVEL * (1 - LEVEL) / given["studies"])
    print(f"{given['studies']} studies: three Monte Carlo errors are {bound:.1f} %")
    for uneven in (False, True):
        for correlation in CORRELATIONS:
            for share in SHARES:
                generator = np.random.default_rng([uneven, int(10 * correlation), int(100 * share)])
                found = []
                for clusters in CLUSTERS:
                    studies = [cover(generator, clusters, share, correlation, uneven) for _ in range(given["studies"])]
                    held, width = np.mean(studies, axis=0)
                    found.append(f"{clusters}: {100 * held:.1f} ({width:.2f})")
                said = f"{'uneven' if uneven else 'even'}, correlation {correlation}, share {share}"
                print(f"{said}: {', '.join(found)}", flush=True)


if __name__ == "__main__":
    main()
