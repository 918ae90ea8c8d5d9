"""Figures of regret to truth: what policy and optimum reach, the share that is missing, the KL that it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mora.records.regret import Regret
from mora.report import marks
from mora.report.fronts import SCORER_NAMES
from mora.report.marks import DASHED, DOTTED, SAME, Look
from mora.report.style import (
    INK,
    MUTED,
    Floats,
    Panel,
    Plate,
    legend_above,
    number,
    objective_color,
    preference_colors,
    preference_label,
    weight_bar,
)

WHOSE = ("policy", "optimum")
LIMIT = "class limit"
LINES: Any = {"policy": "-", "optimum": DOTTED, LIMIT: DASHED}
REACH = (
    "Expected gold scores, exact: filled points are the policy, diamonds of the same color the policy that the judge "
    "calls best for that preference, the KL term included. "
)


def percent(regret: float) -> str:
    """A relative regret as a number of percent: ``4.1``."""
    return number(round(100 * regret, 1) + 0.0, 1)  # adding 0.0 turns -0.0 into 0.0


def mean(values: Floats) -> float:
    """The mean over preferences (P,)."""
    return float(np.mean(values))


def worst(values: Floats) -> float:
    """The largest over preferences (P,)."""
    return float(np.max(values))


def regret_plates(regret: Regret) -> list[Plate]:
    """What policy and optimum reach, for two and more objectives, then regret and KL per preference."""
    count = len(regret.objectives)
    reached = [_plane_plate(regret)] if count == 2 else []
    if count > 2:
        reached = [(_pairs_plate if count == 3 else _shares_plate)(regret, scorer) for scorer in regret.judged]
    plates = [*reached, _regret_plate(regret)]
    if regret.split == "train":
        return plates
    return [replace(plate, name=f"{plate.name}-held-out", title=f"{plate.title}: held-out prompts") for plate in plates]


# --- marks -----------------------------------------------------------------------------------------------------------


def policies(axes: Axes, name: str, places: Floats, colors: Sequence[str]) -> None:
    """Points (P, 2) of the ``policy`` or the ``optimum``, a color each; those on the frame are not cut."""
    if name == "policy":
        marks.points(axes, places, Look(colors, rim=INK), clip=False)
    else:
        marks.points(axes, places, Look(colors, "D"), hollow=True, clip=False)


def responses(axes: Axes, pure: Floats, hull: Floats | None) -> None:
    """Gold scores (K, 2) of single responses, and the vertices (H, 2) that mixtures of them do not pass."""
    axes.scatter(pure[:, 0], pure[:, 1], s=10, c=MUTED, linewidths=0, zorder=1, label="single response")
    if hull is not None:
        edge = hull[np.argsort(hull[:, 0])]
        axes.plot(
            edge[:, 0], edge[:, 1], color=MUTED, linewidth=1.0, linestyle=DOTTED, zorder=1, label="hull of responses"
        )


# --- what is reached -------------------------------------------------------------------------------------------------


def _title(scorer: str) -> str:
    return f"Judged by the {SCORER_NAMES[scorer]}"


def _spoken(regret: Regret, scorer: str) -> str:
    """What the extreme preferences reach, in words, for alternative texts."""
    judged, parts = regret.judged[scorer], []
    for index, name in enumerate(regret.objectives):
        row = int(regret.preferences[:, index].argmax())
        policy, best = (judged.gold[who][row, index] for who in WHOSE)
        parts.append(f"with the most weight on {name} the policy expects {policy:.2f} of it, the optimum {best:.2f}")
    return "; ".join(parts)


def _plane_plate(regret: Regret) -> Plate:
    return Plate(
        name="regret-front",
        title="What the policy reaches, and what could be reached",
        caption=REACH + "Small gray points are single responses; what mixtures of them can expect, whatever the KL, "
        "ends at the dotted line.",
        panels=[
            Panel(
                draw=partial(_draw_plane, regret=regret, scorer=scorer, pair=(0, 1), key=True),
                alt=f"{_title(scorer)}; {_spoken(regret, scorer)}.",
                size=(5.4, 4.5),
            )
            for scorer in regret.judged
        ],
        columns=2,
    )


def _pairs_plate(regret: Regret, scorer: str) -> Plate:
    names = regret.objectives
    return Plate(
        name=f"regret-front-{scorer}",
        title=f"What the policy reaches, and what could be reached, in pairs: {_title(scorer).lower()}",
        caption=REACH + "Small gray points are single responses; the cross is the reference policy.",
        panels=[
            Panel(
                draw=partial(_draw_plane, regret=regret, scorer=scorer, pair=pair, key=False),
                alt=f"{names[pair[0]]} against {names[pair[1]]}; {_spoken(regret, scorer)}.",
            )
            for pair in combinations(range(3), 2)
        ],
        columns=3,
    )


def _draw_plane(axes: Axes, *, regret: Regret, scorer: str, pair: tuple[int, int], key: bool) -> None:
    """Expected gold scores of two objectives; ``key`` adds what only a regret of two objectives has."""
    gold = {who: values[:, list(pair)] for who, values in regret.judged[scorer].gold.items()}
    colors, policy = preference_colors(regret.preferences), gold["policy"]
    responses(axes, regret.pure[:, list(pair)], regret.hull if key else None)
    for ends, color in zip(np.stack([policy, gold["optimum"]], 2), colors, strict=True):
        axes.plot(*ends, color=color, linewidth=0.8, alpha=0.55, zorder=2)
    policies(axes, "optimum", gold["optimum"], colors)
    if len(policy) > 1 and np.ptp(policy, axis=0).max() < SAME:  # one policy for all preferences has none of the colors
        axes.scatter(policy[:1, 0], policy[:1, 1], s=160, c=MUTED, edgecolors=INK, linewidths=0.6, zorder=4)
    else:
        policies(axes, "policy", policy, colors)
    marks.cross(axes, gold["reference"][0])
    axes.set_xlabel(f"{regret.objectives[pair[0]]} (expected gold score)")
    axes.set_ylabel(f"{regret.objectives[pair[1]]} (expected gold score)")
    axes.margins(0.08)
    if key:
        weight_bar(axes, regret.objectives[0])
        axes.set_title(_title(scorer))
        marks.name_marks(axes, reached="policy", best="optimum", reference="reference policy")
        legend_above(axes, 3)


def _shares_plate(regret: Regret, scorer: str) -> Plate:
    return Plate(
        name=f"regret-front-{scorer}",
        title=f"What the policy reaches, and what could be reached: {_title(scorer).lower()}",
        caption="Expected gold scores, exact, a point per preference: the policy against the one that the judge calls "
        "best for that preference, the KL term included. On the diagonal they agree; the cross is the reference.",
        panels=[
            Panel(
                draw=partial(_draw_shares, regret=regret, scorer=scorer, index=index),
                alt=f"Expected gold score of {name}, policy against optimum.",
                size=(3.9, 3.6),
            )
            for index, name in enumerate(regret.objectives)
        ],
        columns=3,
    )


def _draw_shares(axes: Axes, *, regret: Regret, scorer: str, index: int) -> None:
    gold = {who: values[:, index] for who, values in regret.judged[scorer].gold.items()}
    reference = np.repeat(gold["reference"][:1], 2)
    axes.axline(reference, slope=1.0, color=MUTED, linewidth=1.0, linestyle=DOTTED, zorder=1)  # type: ignore[arg-type]
    policies(axes, "policy", np.column_stack([gold["optimum"], gold["policy"]]), preference_colors(regret.preferences))
    marks.cross(axes, reference)
    axes.set_aspect("equal")
    axes.set_xlabel("optimum (expected gold score)")
    axes.set_ylabel("policy (expected gold score)")
    axes.margins(0.08)
    axes.set_title(regret.objectives[index], color=objective_color(index))


# --- regret and KL ---------------------------------------------------------------------------------------------------


def _regret_plate(regret: Regret) -> Plate:
    panels = []
    for scorer, judged in regret.judged.items():
        shares, said = {"policy": 100 * judged.regret}, f"worst {percent(worst(judged.regret))} %"
        if judged.limit is not None:
            shares[LIMIT], said = 100 * judged.limit, f"{said}, class limit mean {percent(mean(judged.limit))} %"
        said = f"mean {percent(mean(judged.regret))} %, {said}"
        panels.append(_values_panel(regret, shares, f"Regret, {SCORER_NAMES[scorer]}", "relative regret (%)", said))
        spent = {who: judged.kl[who] for who in WHOSE}
        said = ", ".join(f"mean of the {who} {number(mean(kl), 2)} nats" for who, kl in spent.items())
        panels.append(_values_panel(regret, spent, f"KL, {SCORER_NAMES[scorer]}", "KL to the reference (nats)", said))
    return Plate(
        name="regret",
        title="What is missing, and the KL spent",
        caption="Per preference: the share of the possible gain over the reference policy that is missing, and the "
        "exact KL divergence of policy and optimum from the reference policy.",
        panels=panels,
        columns=2,
    )


def _values_panel(regret: Regret, values: Mapping[str, Floats], title: str, label: str, said: str) -> Panel:
    plane = len(regret.objectives) == 2
    return Panel(
        draw=partial(_draw_lines if plane else _draw_rows, regret=regret, values=values, title=title, label=label),
        alt=f"{title}: {said}.",
        size=(5.4, 3.9 if plane else max(3.2, 1.4 + 0.19 * len(regret.preferences))),
    )


def _draw_lines(axes: Axes, *, regret: Regret, values: Mapping[str, Floats], title: str, label: str) -> None:
    """Two objectives: values (P,) over the weight of the first."""
    order = np.argsort(regret.preferences[:, 0])
    weights, colors = regret.preferences[order, 0], preference_colors(regret.preferences[order])
    for name, found in values.items():
        color, entry = (INK, name) if name == LIMIT else (MUTED, None)
        axes.plot(weights, found[order], color=color, linewidth=1.1, zorder=2, linestyle=LINES[name], label=entry)
        if name != LIMIT:
            policies(axes, name, np.column_stack([weights, found[order]]), colors)
    axes.set_xlabel(f"weight on {regret.objectives[0]}")
    axes.set_ylabel(label)
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(*_span(values))
    _entitle(axes, title, values)


def _draw_rows(axes: Axes, *, regret: Regret, values: Mapping[str, Floats], title: str, label: str) -> None:
    """Any other number of objectives: a row per preference."""
    order = np.lexsort(regret.preferences.T[::-1])
    rows, colors = np.arange(len(order), dtype=np.float64), preference_colors(regret.preferences[order])
    start: Any = values["optimum"][order] if "optimum" in values else 0.0
    axes.hlines(rows, start, values["policy"][order], colors=colors, linewidth=1.0, alpha=0.6)
    for name, found in values.items():
        if name == LIMIT:
            axes.scatter(found[order], rows, marker="|", s=90, c=INK, linewidths=1.6, zorder=5, label=name)
        else:
            policies(axes, name, np.column_stack([found[order], rows]), colors)
    axes.set_yticks(rows, [preference_label(regret.preferences[i]) for i in order], fontsize=6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(label)
    axes.set_xlim(*_span(values))
    _entitle(axes, title, values)


def _entitle(axes: Axes, title: str, values: Mapping[str, Floats]) -> None:
    axes.set_title(title)
    shown = {"policy": "reached", "optimum": "best"}
    marks.name_marks(axes, **{shown[name]: name for name in values if name != LIMIT})
    legend_above(axes, 3)


def _span(values: Mapping[str, Floats]) -> tuple[float, float]:
    """From 0, or a little below the least value, to a little above the largest."""
    found = np.concatenate([each[np.isfinite(each)] for each in values.values()])
    low, high = float(found.min(initial=0.0)), float(found.max(initial=1e-9))
    return low - (0.06 * (high - low) if low < -1e-6 * high else 0.0), high + 0.08 * (high - low)
