"""What is said of floors under expected scores, as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mora.records.safety import Safety, safety_notes, verdict


def weights_label(preference: Iterable[float]) -> str:
    """A preference in a line of text."""
    return " ".join(f"{weight:.2f}" for weight in preference)


def safety_lines(table: Safety) -> list[str]:
    """A safety test as text: the verdict first, then a line per preference and floor."""
    wide = max(6 * len(table.objectives), 10)
    names = max(len(name) for point in table.points for name in point.constraints)
    lines = [
        verdict(table),
        f"{table.definition[:1].upper()}{table.definition[1:]}; {table.bound if table.worst == 1 else 'DKW'} bound, "
        f"{table.prompts} prompts x {table.samples_per_prompt}, scores by {table.judge} in its own units",
        *(f"! {note}" for note in safety_notes(table)),
        f"{'preference':<{wide}} {'floor of':<{names}} {'floor':>8} {'mean':>8} {'at least':>9} {'p (all)':>8}",
    ]
    for point in table.points:
        for name, one in point.constraints.items():
            worth = f"{one.floor:8.3f} {one.mean:8.3f} {one.least:9.3f} {one.p_adjusted:8.3f}"
            lines.append(
                f"{weights_label(point.preference):<{wide}} {name:<{names}} {worth}  {'kept' if one.holds else '-'}"
            )
    if table.between is not None:
        parts = ", ".join(f"{start:.2f} to {end:.2f}" for start, end in table.between.intervals) or "nowhere"
        lines.append(f"if {table.between.assumption}: kept at weights of {table.between.objective} from {parts}")
    return lines


def floors_lines(table: dict[str, Any]) -> list[str]:
    """What floors would cost, as text: a line per floors and preference."""
    names, floored = table["objectives"], list(table["points"][0]["floors"])
    wide = max(6 * len(names), 10)
    lines = [
        f"the optimum under floors, over {table['samples_per_prompt']} answers of the reference policy to each of "
        f"{table['prompts']} prompts, kl_coef {table['kl_coef']:g}; multipliers in gain per reference deviation",
        " ".join([*(f"{f'floor {name}':>12}" for name in floored), f"{'preference':<{wide}}",
                  *(f"{name:>10}" for name in names), *(f"{f'mult. {name}':>12}" for name in floored),
                  f"{'KL':>6} {'answers':>8}"]),
    ]  # fmt: skip
    for point in table["points"]:
        head = [
            *(f"{floor:12.3f}" for floor in point["floors"].values()),
            f"{weights_label(point['preference']):<{wide}}",
        ]
        if point["reached"]:
            head += [*(f"{value:10.3f}" for value in point["expected"])]
            head += [*(f"{value:12.3f}" for value in point["multipliers"].values())]
            head += [f"{point['kl']:6.2f} {point['effective']:8.1f}"]
        else:
            head += ["no weighting of these answers reaches it"]
        lines.append(" ".join(head))
    lines.append("[answers: how many the optimum rests on at each prompt; with few, multipliers come out too large]")
    return lines
