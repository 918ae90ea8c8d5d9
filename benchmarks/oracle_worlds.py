"""The oracle's worlds, exactly: optima by duality against a generic optimizer, and what each world looks like.

    python benchmarks/oracle_worlds.py out=docs/figures

No model and no sampling: the reference policy gives all 400 texts the same probability, on one prompt; utilities are in
score units.  Prints a table of optimal utilities at the preference w_i ~ i and of their largest difference, there and
at equal weights, from a second method: SLSQP over probabilities u^2 of all texts, a linear program over mixtures or the
dual one where the KL costs nothing, a central difference for multipliers.  "constrained" is <w, r> with a floor under
r1 half-way from its optimum to 1, and in oracle_constraint help with the world's own floor.  Writes a figure of each.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from made_by import made_by
from matplotlib.axes import Axes
from oracle_optima import COUNTS, IDEAL, KL_COEF, PROBLEMS, Enumerated, Floats, worlds

from mora.files import write_bytes
from mora.report.marks import DASHED, cross, name_marks
from mora.report.regret_figures import policies, responses
from mora.report.style import (
    INK,
    MUTED,
    OBJECTIVE_COLORS,
    PAPER,
    Panel,
    Plate,
    legend_above,
    number,
    preference_colors,
    save_plate,
    weight_bar,
)

WEIGHTS = np.linspace(0, 1, 11)
GRID = np.stack([WEIGHTS, 1 - WEIGHTS], axis=1)  # 11 preferences
COLORS = preference_colors(GRID)
KL_COEFS = (0.05, 0.15, 0.5)
LABELS = ((-4, -19, "left"), (-7, -7, "right"), (-7, -7, "right"))  # where they are written: shift and alignment
SIZE = (5.4, 4.6)


def table() -> None:
    """Print the table."""
    print(made_by())
    print(f"kl_coef {KL_COEF}, ideal {IDEAL}; w_i ~ i\n")
    print("| world | problem | M = 2 | M = 3 | M = 4 | M = 5 | M = 6 | largest difference |\n|" + " --- |" * 8)
    for dataset in (*COUNTS, "oracle_constraint"):
        everything = [Enumerated(world) for world in worlds(dataset, 6)]
        for name, problem in PROBLEMS.items():
            values, differences = [], []
            for one in everything:
                slanted = np.arange(1.0, len(one.ideal) + 1)
                pairs = [problem(one, w / w.sum()) for w in (slanted, np.ones_like(slanted))]
                values.append(f"{pairs[0][0]:.4f}")
                differences += [abs(exact - other) for exact, other in pairs]
            cells = " | ".join((values + ["–"] * 5)[:5])
            print(f"| {dataset} | {name} | {cells} | {max(differences):.0e} |", flush=True)


# --- figures ---------------------------------------------------------------------------------------------------------


def begin(axes: Axes, one: Enumerated) -> None:
    """Single responses, their hull and the reference policy."""
    responses(axes, one.pure, one.hull)
    cross(axes, one.scores[0].mean(0))


def finish(axes: Axes, one: Enumerated, title: str, **labels: str) -> None:
    """Axes, title and legend; ``labels`` as of ``name_marks``."""
    first, second = one.world.objectives
    axes.set(xlabel=f"{first} (expected score)", ylabel=f"{second} (expected score)")
    axes.margins(0.08)
    axes.set_title(title)
    name_marks(axes, **labels, reference="reference policy")
    legend_above(axes, 3)


def note(axes: Axes, text: str, point: Floats, shift: tuple[float, float], align: str = "left") -> None:
    """A short text beside a point, ``shift`` in points of print."""
    axes.annotate(text, tuple(point), xytext=shift, textcoords="offset points", ha=align, va="center", fontsize=8)


def chosen(axes: Axes, points: Floats, gains: Floats) -> None:
    """Diamonds at the points (K, 2) that some preference likes best, gains (11, K), with the weights that do."""
    best = gains >= gains.max(1, keepdims=True) - 1e-12
    for point, likes in zip(points, best.T, strict=True):
        if likes.any():
            low, high = WEIGHTS[likes].min(), WEIGHTS[likes].max()
            axes.scatter(*point, marker="D", s=80, c=PAPER, edgecolors=INK, linewidths=1.3, zorder=3, clip_on=False)
            last = point[1] < 1e-9
            note(
                axes,
                f"weights {low:.1g} to {high:.1g}",
                point,
                (-9, -11) if last else (9, 8),
                "right" if last else "left",
            )


def curved(one: Enumerated) -> Plate:
    """The tilted optima on a curved front, for some prices of the KL."""
    found = {kl_coef: [one.linear(w, kl_coef) for w in GRID] for kl_coef in KL_COEFS}

    def plane(axes: Axes) -> None:
        begin(axes, one)
        for (kl_coef, optima), (*shift, align) in zip(found.items(), LABELS, strict=True):
            points = np.array([optimum.rewards for optimum in optima])
            axes.plot(*points.T, color=MUTED, linewidth=0.9, zorder=2)
            policies(axes, "policy", points, COLORS)
            note(axes, f"kl_coef {kl_coef:g}", points[0], (shift[0], shift[1]), align)
        finish(axes, one, "Optima of the linear utility", reached="optimum")
        weight_bar(axes, one.world.objectives[0])

    def prices(axes: Axes) -> None:
        for kl_coef, optima in found.items():
            points = np.column_stack([WEIGHTS, [optimum.kl for optimum in optima]])
            axes.plot(*points.T, color=MUTED, linewidth=0.9, zorder=2)
            policies(axes, "policy", points, COLORS)
            note(axes, f"kl_coef {kl_coef:g}", points[5], (0, 11), "center")
        axes.set(xlabel=f"weight on {one.world.objectives[0]}", ylabel="KL to the reference (nats)", ylim=(0, None))
        axes.set_title("What they spend")

    return plate("oracle_curved", [plane, prices])


def flat(one: Enumerated) -> Plate:
    """What linear and expected Tchebycheff utilities reach on a flat front, without and with a KL term."""
    labels = {"reached": "expected Tchebycheff", "best": "linear"}

    def free(axes: Axes) -> None:
        begin(axes, one)
        chosen(axes, one.hull, GRID @ one.hull.T)
        policies(axes, "policy", one.free(GRID), COLORS)
        finish(axes, one, "Without a KL term", **labels)
        weight_bar(axes, one.world.objectives[0])

    def priced(axes: Axes) -> None:
        begin(axes, one)
        policies(axes, "optimum", np.array([one.linear(w).rewards for w in GRID]), COLORS)
        policies(axes, "policy", np.array([one.of_expectations(w).rewards for w in GRID]), COLORS)
        finish(axes, one, f"With kl_coef {KL_COEF:g}", **labels)
        weight_bar(axes, one.world.objectives[0])

    return plate("oracle_flat", [free, priced])


def dented(one: Enumerated) -> Plate:
    """Tchebycheff of responses against Tchebycheff of expectations on a dented front."""
    labels = {"reached": "of expectations", "best": "of responses"}
    front = one.world.front()

    def free(axes: Axes) -> None:
        begin(axes, one)
        axes.plot(*front.T, color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1, label="front of responses")
        chosen(axes, front, np.array([(w * (front - IDEAL)).min(1) for w in GRID]))
        policies(axes, "policy", one.free(GRID), COLORS)
        finish(axes, one, "Tchebycheff without a KL term", **labels)
        weight_bar(axes, one.world.objectives[0])

    def priced(axes: Axes) -> None:
        begin(axes, one)
        ends = [np.array([solve(w).rewards for w in GRID]) for solve in (one.of_responses, one.of_expectations)]
        for pair, color in zip(np.stack(ends, 2), COLORS, strict=True):
            axes.plot(*pair, color=color, linewidth=0.8, alpha=0.55, zorder=2)
        policies(axes, "optimum", ends[0], COLORS)
        policies(axes, "policy", ends[1], COLORS)
        finish(axes, one, f"Tchebycheff with kl_coef {KL_COEF:g}", **labels)
        weight_bar(axes, one.world.objectives[0])

    return plate("oracle_dented", [free, priced])


def constraint(one: Enumerated) -> Plate:
    """The best help with and without a floor under safety, and what the floor costs."""
    alone = np.array([1.0, 0.0])
    (gains, index, floor), free = one.constraint(alone), one.linear(alone)
    floors = np.linspace(free.rewards[index] - 0.12, 0.99, 60)
    path, bound = [one.constrained(gains, index, each) for each in floors], one.constrained(gains, index, floor)
    assert bound.multipliers is not None
    slope, blue = -bound.multipliers[index], OBJECTIVE_COLORS[0]

    def plane(axes: Axes) -> None:
        begin(axes, one)
        axes.axhline(floor, color=INK, linewidth=1.0, linestyle=DASHED, zorder=1, label=f"floor, safe ≥ {floor:g}")
        points = np.array([each.rewards for each in path])
        axes.plot(*points.T, color=MUTED, linewidth=1.2, zorder=2, label="other floors")
        policies(axes, "optimum", free.rewards[None], INK)
        policies(axes, "policy", bound.rewards[None], blue)
        finish(axes, one, f"Most help with kl_coef {KL_COEF:g}", reached="with the floor", best="without a floor")

    def price(axes: Axes) -> None:
        axes.plot(floors, [each.utility for each in path], color=MUTED, linewidth=1.2, zorder=2)
        near = np.array([floor - 0.2, floor + 0.09])
        axes.plot(near, bound.utility + slope * (near - floor), color=blue, linewidth=1.2, linestyle=DASHED)
        policies(axes, "optimum", np.array([[free.rewards[index], free.utility]]), INK)
        policies(axes, "policy", np.array([[floor, bound.utility]]), blue)
        note(axes, f"slope = −multiplier = {number(slope, 2)}", np.array([floor, bound.utility]), (-10, -4), "right")
        axes.set(xlabel="floor under safe (expected score)", ylabel="best utility (score units)")
        axes.margins(0.08)
        axes.set_title("What the floor costs")

    return plate("oracle_constraint", [plane, price])


def plate(name: str, draws: Sequence[Callable[[Axes], None]]) -> Plate:
    """Panels side by side; nothing but their picture is used."""
    return Plate(name=name, title="", caption="", panels=[Panel(draw=d, alt="", size=SIZE) for d in draws], columns=2)


def figures(out: Path) -> None:
    """Write the figures of the worlds with two objectives."""
    for dataset, draw in zip((*COUNTS, "oracle_constraint"), (curved, flat, dented, constraint), strict=True):
        made = draw(Enumerated(worlds(dataset, 2)[0]))
        with tempfile.TemporaryDirectory() as folder:
            picture, _ = save_plate(made, Path(folder))
            write_bytes(out / picture.name, picture.read_bytes())


if __name__ == "__main__":
    arguments = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if "out" in arguments:
        figures(Path(arguments["out"]))
    table()
