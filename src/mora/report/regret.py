"""Regret to truth, in words and tables: a policy against the best there is, where all responses are enumerated."""

from __future__ import annotations

from collections.abc import Sequence

from mora.records.front import SPLIT_NAMES
from mora.records.regret import Regret
from mora.report.markup import fill
from mora.report.regret_figures import WHOSE, mean, percent, worst
from mora.report.style import Plate, number

UTILITIES = {
    "Linear": "E ⟨w, r⟩",
    "Lagrangian": "E ⟨w, r⟩ + Σⱼ μⱼ (E rⱼ − dⱼ), w the weights of the objectives without a floor, scaled to sum 1, "
    "μ the multipliers of the optimum under the floors E rⱼ ≥ dⱼ,",
    "Tchebycheff": "E minᵢ wᵢ (rᵢ − zᵢ)",
    "TchebycheffExpected": "minᵢ wᵢ (E rᵢ − zᵢ)",
    "TchebycheffLearned": "minᵢ wᵢ (E rᵢ − zᵢ)",
    "TchebycheffPrompt": "E minᵢ wᵢ (E[rᵢ | x] − zᵢ)",
    "Minimum": "E minᵢ rᵢ over wᵢ > 0",
}


def tiles(regrets: Sequence[Regret]) -> list[tuple[str, str]]:
    """The figures that the page begins with, as (value, name), by the first scorer."""
    found = []
    for regret in regrets:
        judged, where = next(iter(regret.judged.values())), SPLIT_NAMES[regret.split]
        found += [
            (f"{percent(mean(judged.regret))} %", f"mean regret, {where}"),
            (f"{percent(worst(judged.regret))} %", f"worst regret, {where}"),
        ]
        if judged.limit is not None:
            found.append((f"{percent(mean(judged.limit))} %", f"class limit, mean, {where}"))
    judged = next(iter(regrets[0].judged.values()))
    return [*found, *((number(mean(judged.kl[who]), 2), f"KL of the {who}, mean") for who in WHOSE)]


def enumerated(regrets: Sequence[Regret]) -> str:
    """How many responses to how many prompts, in words."""
    asked = " and ".join(f"{regret.prompts} {SPLIT_NAMES[regret.split]}" for regret in regrets)
    return f"{regrets[0].responses:,} responses to each of {asked}"


def section(regrets: Sequence[Regret], plates: Sequence[Sequence[Plate]]) -> str:
    """The section of the page: what regret means here; for each split the figures and a table per scorer."""
    if not regrets:
        return ""
    regret = regrets[0]
    judged = regret.judged.values()
    return fill(
        "regret.html",
        regrets=regrets,
        drawn=plates,
        enumerated=enumerated(regrets),
        utility=UTILITIES.get(regret.scalarize, f"E of the {regret.scalarize} gain"),
        definition=regret.definition[:1].upper() + regret.definition[1:],
        limits=list(dict.fromkeys(one.limited.run for one in judged if one.limited is not None)),
        percent=percent,
        mean=mean,
        worst=worst,
    )
