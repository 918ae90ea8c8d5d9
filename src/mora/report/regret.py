"""Regret to truth, in words and tables: a policy against the best there is, where all responses are enumerated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mora.report import markup
from mora.report.fronts import SCORER_NAMES
from mora.report.markup import text
from mora.report.regret_figures import WHOSE, mean, percent, worst
from mora.report.style import Floats, Plate, number
from mora.report.tables import SPLIT_NAMES, Regret

UTILITIES = {
    "Linear": "E ⟨w, r⟩",
    "Tchebycheff": "E minᵢ wᵢ (rᵢ − zᵢ)",
    "TchebycheffExpected": "minᵢ wᵢ (E rᵢ − zᵢ)",
    "TchebycheffPrompt": "E minᵢ wᵢ (E[rᵢ | x] − zᵢ)",
    "Minimum": "E minᵢ rᵢ over wᵢ > 0",
}


def lead(regrets: Sequence[Regret]) -> str:
    """What was run, as HTML, for a page whose run has no front."""
    regret = regrets[0]
    objectives = ", ".join(markup.objective(name, i) for i, name in enumerate(regret.objectives))
    return (
        f"A policy over {objectives}, held against the best policy there is at {_count(regret.preferences)}. All "
        f"{_enumerated(regrets)} are enumerated: utilities, KL (<code>kl_coef</code> {regret.kl_coef:g}) and the "
        "optimum are exact, nothing is sampled."
    )


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


def section(regrets: Sequence[Regret], plates: Sequence[Sequence[Plate]]) -> str:
    """The section of the page: what regret means here; for each split the figures and a table per scorer."""
    if not regrets:
        return ""
    regret = regrets[0]
    utility = UTILITIES.get(regret.scalarize, f"E of the {regret.scalarize} gain")
    notes = [
        f"All {_enumerated(regrets)} are enumerated; nothing is sampled. Utility of a policy π at a preference w: "
        f"U = {utility} − {regret.kl_coef:g} KL(π ‖ π_ref), r in standard deviations of the reference policy. "
        f"{regret.definition[:1].upper()}{regret.definition[1:]}; 0 % is the best policy, 100 % the reference.",
        *_limit_notes(regret),
    ]
    body = "".join(f'<p class="note">{text(note)}</p>' for note in notes)
    for regret, drawn in zip(regrets, plates, strict=True):
        title = f"{SPLIT_NAMES[regret.split].capitalize()} ({regret.prompts})"
        body += f"<h3>{text(title)}</h3>" + "".join(markup.plate(plate) for plate in drawn)
        body += "".join(_table(regret, scorer) for scorer in regret.judged)
    return f'<section id="regret"><h2>Regret to truth</h2>{body}</section>'


def _count(preferences: Floats) -> str:
    return f"{len(preferences)} preference{'' if len(preferences) == 1 else 's'}"


def _enumerated(regrets: Sequence[Regret]) -> str:
    asked = " and ".join(f"{regret.prompts} {SPLIT_NAMES[regret.split]}" for regret in regrets)
    return f"{regrets[0].responses:,} responses to each of {asked}"


def _limit_notes(regret: Regret) -> list[str]:
    runs = dict.fromkeys(judged.limit_run for judged in regret.judged.values() if judged.limit is not None)
    return [
        f"Class limit: the regret of {run}, what gradient ascent on the exact utility reaches with such parameters."
        for run in runs
    ]


def _table(regret: Regret, scorer: str) -> str:
    judged = regret.judged[scorer]
    limited = judged.limit is not None
    columns = ["preference", "U of the reference", "U of the policy", "U of the optimum", "regret, %"]
    columns += ["class limit, %"] if limited else []
    columns += ["KL of the policy, nats", "KL of the optimum, nats"]
    rows = []
    for p, preference in enumerate(regret.preferences):
        utilities = [number(judged.utility[who][p]) for who in ("reference", "policy", "optimum")]
        limit = [percent(judged.limit[p])] if judged.limit is not None else []
        kl = [number(judged.kl[who][p]) for who in WHOSE]
        rows.append(
            [markup.mix(tuple(preference), regret.objectives), *utilities, percent(judged.regret[p]), *limit, *kl]
        )
    for name, reduce in (("mean", mean), ("worst", worst)):
        regrets = [percent(reduce(values)) for values in (judged.regret, judged.limit) if values is not None]
        kl = [number(mean(judged.kl[who])) if name == "mean" else "–" for who in WHOSE]
        rows.append([f"<strong>{name}</strong>", "–", "–", "–", *regrets, *kl])
    caption = f"Utility U in reward units, by the {SCORER_NAMES[scorer]}, {SPLIT_NAMES[regret.split]}"
    if not math.isnan(judged.worst_prompt):
        caption += f"; the prompt that misses most misses {percent(judged.worst_prompt)} % on average"
    return markup.table(columns, rows, caption=caption)
