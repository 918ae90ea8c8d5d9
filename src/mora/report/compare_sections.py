"""The tables of a comparison page, each a function from the comparison to HTML; without data an empty string."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mora.report import markup
from mora.report.compare_tables import SPENT, Comparison, Method
from mora.report.compare_verdicts import decimals, written
from mora.report.markup import text
from mora.report.style import Plate, number

SPENT_TITLES = {
    "generated_tokens": "generated tokens",
    "trained_tokens": "trained tokens",
    "forward_passes": "forward passes",
    "peak_memory_gib": "peak memory, GiB",
    "seconds": "seconds",
}
NOT_RECORDED = '<span class="undecided">not recorded</span>'
TITLES = {"kl": "KL", "igd_plus": "IGD+", "spacing_schott": "spacing (Schott)", "kendall_tau": "Kendall's tau"}


def figures(anchor: str, title: str, plates: Sequence[Plate]) -> str:
    """A section of figures; neighbors of one panel stand beside each other."""
    groups: list[list[Plate]] = []
    for plate in plates:
        if groups and len(plate.panels) == len(groups[-1][-1].panels) == 1:
            groups[-1].append(plate)
        else:
            groups.append([plate])
    body = "".join(f'<div class="beside">{"".join(map(markup.plate, group))}</div>' for group in groups)
    return f'<section id="{anchor}"><h2>{text(title)}</h2>{body}</section>' if body else ""


def method_heads(comparison: Comparison) -> list[str]:
    """The methods as column heads."""
    return [markup.method(name, i) for i, name in enumerate(comparison.names)]


# --- budget ----------------------------------------------------------------------------------------------------------


def amount(name: str, value: float) -> str:
    """What was spent of ``name``: thousands separated, memory with one decimal; what is not known is said to be so."""
    if not math.isfinite(value):
        return NOT_RECORDED
    return f"{value:,.1f}" if name == "peak_memory_gib" else f"{value:,.0f}"


def budget(comparison: Comparison) -> str:
    """What each method cost, alone and with the runs that it stands on."""
    rows, stages = [], []
    columns = [SPENT_TITLES[name] for name in SPENT]
    for index, method in enumerate(comparison.methods):
        if not method.budget:
            continue
        for part, title in (("run", "the run itself"), ("chain", "with all runs below it")):
            amounts = [amount(name, method.budget[part][name]) for name in SPENT]
            rows.append([markup.method(method.name, index), title, *amounts])
        parts = [
            [text(run), text(algo), *[amount(name, spent[name]) for name in SPENT]]
            for run, algo, spent in method.budget["stages"]
        ]
        if parts:
            caption = f"Stages of {method.name}, first seed"
            stages.append(markup.table(["run", "algorithm", *columns], parts, caption=caption, words=[1]))
    if not rows:
        return ""
    caption = "Means over seeds; the chain counts every run that led here, once"
    table = markup.table(["method", "what", *columns], rows, caption=caption, words=[1])
    folded = markup.fold("Stage by stage", "".join(stages)) if stages else ""
    return f'<section id="budget"><h2>Budget</h2>{table}{folded}</section>'


# --- indicators ------------------------------------------------------------------------------------------------------


def indicators(comparison: Comparison) -> str:
    """Every indicator of every method, with intervals where they are known."""
    rows = _indicator_rows(comparison, [method.indicators for method in comparison.methods], "")
    rows += _indicator_rows(comparison, [method.at_matched_kl for method in comparison.methods], ", at matched KL")
    if not rows:
        return ""
    z = ", ".join(
        f"{markup.objective(name, i)} {number(float(value))}"
        for i, (name, value) in enumerate(zip(comparison.objectives, comparison.reference_point, strict=True))
    )
    rule = (comparison.about.get("reference_point") or {}).get("rule")
    covers = dict.fromkeys(method.covers for method in comparison.methods)
    said = next(iter(covers)) if len(covers) == 1 else "; ".join(f"{m.name}: {m.covers}" for m in comparison.methods)
    note = (
        f"In brackets: {100 * comparison.level:.3g} % intervals, which cover: {text(said)}. Whether two methods differ "
        "is answered by the verdicts, not by whether their intervals overlap. "
        f"Reference point z of the hypervolume: {z}{f' ({text(rule)})' if rule else ''}."
    )
    heads = ["indicator", *method_heads(comparison)]
    table = markup.table(heads, rows, caption="Indicators of the fronts", css="indicators")
    head = f'<h2>Indicators</h2><p class="note">{note}</p>'
    return f'<section id="indicators">{head}{table}{points(comparison)}</section>'


def _indicator_rows(
    comparison: Comparison, entries: Sequence[Mapping[str, Mapping[str, Any]]], suffix: str
) -> list[list[str]]:
    rows = []
    for name in dict.fromkeys(name for each in entries for name in each):
        found = [each.get(name) for each in entries]
        known = [entry for entry in found if entry is not None]
        definition = next((entry["definition"] for entry in known), "")
        title = text(TITLES.get(name, name.replace("_", " ")) + suffix) + (
            f"<small>{text(definition)}</small>" if definition else ""
        )
        digits = decimals(np.concatenate([np.atleast_1d(entry["value"]) for entry in known]))
        rows.append([title, *[_value(entry, comparison, digits) for entry in found]])
    return rows


def _value(entry: Mapping[str, Any] | None, comparison: Comparison, digits: int) -> str:
    if entry is None:
        return "–"
    value, interval = entry["value"], entry["interval"]
    if isinstance(value, np.ndarray):
        named = enumerate(zip(comparison.objectives, value, strict=True))
        return "<br>".join(f"{markup.objective(o, i)} {written(float(v), digits)}" for i, (o, v) in named)
    if interval is None:
        return written(value, digits)
    low, high = (written(float(end), digits) for end in interval)
    return f"{written(value, digits)}<small>[{low}, {high}]</small>"


def points(comparison: Comparison) -> str:
    """A table per method: what it reaches at each preference, folded."""
    return "".join(
        markup.fold(f"Points of {method.name}", _points_table(comparison, method)) for method in comparison.methods
    )


def _points_table(comparison: Comparison, method: Method) -> str:
    names, column = comparison.objectives, method.columns
    heads = ["preference", *[markup.objective(name, i) for i, name in enumerate(names)], "utility", "KL, nats",
             "win rate", *[f"win rate, {text(name)}" for name in names], "lowest objective", "valid",
             "tokens", "ended"]  # fmt: skip
    reference = method.reference
    plain = [number(reference["worst_objective"]), number(reference["valid"]), number(reference["tokens"], 1),
             number(reference["ended"])]  # fmt: skip
    nothing = ["–"] * (3 + len(names))
    rows = [["reference policy", *[number(float(v)) for v in reference["scores"]], *nothing, *plain]]
    for p, preference in enumerate(comparison.preferences):
        pairs = zip(method.scores[p], method.margins[p], strict=True)
        measured = [
            markup.with_error(column[name][p], column[f"{name}_margin"][p]) for name in ("utility", "kl", "win_rate")
        ]
        wins = [number(float(v)) for v in method.win_rates[p]] if len(names) > 1 else [number(method.win_rates[p, 0])]
        others = [number(column["worst_objective"][p]), number(column["valid"][p]), number(column["tokens"][p], 1),
                  number(column["ended"][p])]  # fmt: skip
        mark = " <small>(dominated)</small>" if method.dominated[p] and method.steered else ""
        scores = [markup.with_error(value, error) for value, error in pairs]
        rows.append([markup.mix(tuple(preference), names) + mark, *scores, *measured, *wins, *others])
    caption = (
        f"Mean ± half the width of its {100 * comparison.level:g} % interval at each preference. Lowest objective: the "
        "mean over answers of their lowest score. Ended: the share of answers that were not cut off at the limit"
    )
    return markup.table(heads, rows, caption=caption)


# --- what was compared -----------------------------------------------------------------------------------------------


def methods(comparison: Comparison) -> str:
    """What each method is, and the settings in which they differ."""
    names = ["algorithm", "model", "runs", "seeds", "steered", "trained by", "intervals cover"]
    values = [
        [
            text(method.algo),
            f"<code>{text(method.model)}</code>",
            "<br>".join(f"<code>{text(run)}</code>" for run in method.runs),
            text(", ".join(str(seed) for seed in method.seeds)),
            "by preference" if method.steered else "no, one policy for all preferences",
            text(method.trained_by or "no reward") + (" (the judge)" if method.judge_trained_it else ""),
            text(method.covers),
        ]
        for method in comparison.methods
    ]
    rows = [[name, *cells] for name, *cells in zip(names, *values, strict=True)]
    heads = ["", *method_heads(comparison)]
    words = range(1, len(heads))
    body = markup.table(heads, rows, caption="The methods", words=words)
    keys = list(dict.fromkeys(key for method in comparison.methods for key in method.settings))
    if keys:
        rows = [[f"<code>{text(key)}</code>", *[_setting(m.settings, key) for m in comparison.methods]] for key in keys]
        body += markup.table(["setting", *heads[1:]], rows, caption="Settings in which the methods differ", words=words)
    return f'<section id="methods"><h2>What was compared</h2>{body}</section>'


def _setting(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "–"
    value = settings[key]
    return f"<code>{text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}</code>"
