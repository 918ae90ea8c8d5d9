"""The words and tables of a comparison page, each a function from the comparison to HTML; empty without data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mora.functional.thinning import evenly
from mora.records.compare import REFERENCE, Comparison
from mora.records.verdicts import JUDGED
from mora.report.markup import decimals, fill, macros
from mora.report.page import Head
from mora.report.style import number

SPENT_TITLES = {
    "generated_tokens": "generated tokens",
    "trained_tokens": "trained tokens",
    "forward_passes": "forward passes",
    "peak_memory_gib": "peak memory, GiB",
    "seconds": "seconds",
}
INDICATORS = {
    "kl": "KL",
    "igd_plus": "IGD+",
    "spacing_schott": "spacing (Schott)",
    "kendall_tau": "Kendall's tau",
}
RANKED = {"hypervolume": "hypervolume", "inner_product": "realized utility"}
PROMPTS_SHOWN = 6
Rows = Sequence[Mapping[str, Any]]


# --- what comparisons of policies and of reward models share ---------------------------------------------------------


def share(comparison: Any) -> str:
    """The level of its intervals: ``95 %``."""
    return f"{100 * comparison.level:.3g} %"


def method_heads(comparison: Any) -> list[str]:
    """The methods as column heads."""
    method = macros("parts.html").method
    return [method(name, i) for i, name in enumerate(comparison.names)]


def coverage(said: Iterable[tuple[str, str]]) -> str:
    """What intervals cover, in words, of pairs of a name and what its interval covers."""
    named: dict[str, list[str]] = {}
    for name, covers in said:
        named.setdefault(covers, []).append(name)
    return next(iter(named)) if len(named) == 1 else "; ".join(f"{', '.join(v)}: {k}" for k, v in named.items())


def methods_coverage(comparison: Any) -> str:
    """What the intervals of the methods cover."""
    return coverage((method.name, method.covers) for method in comparison.methods)


def verdict_table(comparison: Any, titles: Sequence[str], pairs: Sequence[Any], *, rewards: bool) -> str:
    """What is said of each pair of methods, first in words, then in numbers: two columns for each of the ``titles``.

    ``pairs`` hold a pair and its rows, each a heading and a verdict (or None) for each title.
    """
    return fill(
        "verdicts.html",
        comparison=comparison,
        titles=titles,
        pairs=pairs,
        rewards=rewards,
        covers=coverage((f"{pair.a} − {pair.b}", pair.covers) for pair in comparison.pairs),
        share=share(comparison),
        error=f"{1 - comparison.level:.2g}",
    )


def methods_table(comparison: Any, *, rewards: bool) -> str:
    """What each method is, and the settings in which they differ."""
    return fill(
        "methods.html",
        comparison=comparison,
        rewards=rewards,
        heads=method_heads(comparison),
        columns=range(1, 1 + len(comparison.names)),
        settings=list(dict.fromkeys(key for method in comparison.methods for key in method.settings)),
    )


# --- what is compared ------------------------------------------------------------------------------------------------


def head(comparison: Comparison) -> Head:
    """Title, what is compared, and warnings."""
    counts = [len(method.seeds) for method in comparison.methods]
    seeds = f"{counts[0]} trained seed{'' if counts[0] == 1 else 's'} per method."
    if len(set(counts)) > 1:
        seeds = f"Trained seeds: {', '.join(f'{m.name} {len(m.seeds)}' for m in comparison.methods)}."
    return Head(
        kind="mora comparison",
        eyebrow="mora comparison",
        name=comparison.name,
        lead=fill("comparison_lead.html", comparison=comparison, rewards=False, seeds=seeds),
        warnings=comparison.warnings,
    )


def verdicts(comparison: Comparison) -> str:
    """What is said of each pair, at the methods' own KL and at matched KL."""
    if not comparison.pairs:
        return ""
    titles = ["at its own KL", "at matched KL"][: 2 if any(pair.at_matched_kl for pair in comparison.pairs) else 1]
    pairs = []
    for pair in comparison.pairs:
        parts = (pair.verdicts, pair.at_matched_kl)[: len(titles)]
        pairs.append((pair, [(RANKED[name], [getattr(part, name, None) for part in parts]) for name in JUDGED]))
    return verdict_table(comparison, titles, pairs, rewards=False)


def budget(comparison: Comparison) -> str:
    """What each method cost, alone and with the runs that it stands on."""
    if not any(method.budget for method in comparison.methods):
        return ""
    return fill("budget.html", comparison=comparison, columns=SPENT_TITLES)


def indicators(comparison: Comparison) -> str:
    """Every indicator of every method, with intervals where they are known, and every point."""
    rows = []
    for part, suffix in (("indicators", ""), ("at_matched_kl", ", at matched KL")):
        of_methods = [getattr(method, part) or {} for method in comparison.methods]
        for name in dict.fromkeys(name for each in of_methods for name in each):
            entries = [each.get(name) for each in of_methods]
            known = [entry for entry in entries if entry is not None]
            digits = decimals(np.concatenate([np.atleast_1d(entry.value) for entry in known]))
            title = INDICATORS.get(name, name.replace("_", " ")) + suffix
            rows.append((title, known[0].definition, digits, entries))
    if not rows:
        return ""
    objective = macros("parts.html").objective
    return fill(
        "indicators.html",
        comparison=comparison,
        share=share(comparison),
        covers=methods_coverage(comparison),
        rule=comparison.origin.rule,
        heads=method_heads(comparison),
        rows=rows,
        objectives=[objective(name, i) for i, name in enumerate(comparison.objectives)],
        wins=[f"win rate, {name}" for name in comparison.objectives],
    )


def methods(comparison: Comparison) -> str:
    """What each method is, and the settings in which they differ."""
    return methods_table(comparison, rewards=False)


# --- answers and conditions ------------------------------------------------------------------------------------------


def answers(comparison: Comparison, rows: Rows) -> str:
    """Answers to the same prompts: a row per preference, the reference policy first, and a column per method."""
    named = {*comparison.names, *(REFERENCE + name for name in comparison.names)}
    given = [{"kl": None, "ended": None, "scores": None, **row} for row in rows if row["method"] in named]
    prompts = evenly(list(dict.fromkeys(row["prompt"] for row in given)), PROMPTS_SHOWN)
    blocks = [(prompt, *_answered(comparison, [r for r in given if r["prompt"] == prompt])) for prompt in prompts]
    return fill("answers.html", comparison=comparison, blocks=blocks) if blocks else ""


def _answered(comparison: Comparison, rows: Rows) -> tuple[list[Any], list[Any]]:
    """The answers (or None) of each method's reference policy, and at each preference those of the methods.

    Preferences stand in the order of the grid as far as it has them.
    """
    started = {row["method"]: row for row in rows if row["method"].startswith(REFERENCE)}
    found = {(row["method"], _key(row["preference"])): row for row in rows if row.get("preference") is not None}
    order = {_key(preference): place for place, preference in enumerate(comparison.preferences)}
    shown = sorted({key for _, key in found}, key=lambda preference: (order.get(preference, len(order)), preference))
    return (
        [started.get(REFERENCE + name) for name in comparison.names],
        [(preference, [found.get((name, preference)) for name in comparison.names]) for preference in shown],
    )


def _key(preference: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(weight), 9) for weight in preference)


def conditions(comparison: Comparison, folder: Path) -> str:
    """How it was measured, by what rules, and the files that hold the numbers."""
    known = comparison.kl_budget[np.isfinite(comparison.kl_budget)]
    ends = dict.fromkeys(number(float(end), 2) for end in (known.min(), known.max())) if len(known) else ()
    return fill(
        "conditions.html",
        comparison=comparison,
        share=share(comparison),
        budget=" to ".join(ends),
        files=sorted(p.name for p in (folder / "tables").glob("*") if p.suffix in (".csv", ".json", ".jsonl")),
    )
