"""The words and tables of a comparison page of reward models, each a function from the comparison to HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mora.records.rewards import COMPARED, RewardComparison
from mora.report.compare_sections import method_heads, methods_coverage, methods_table, share, verdict_table
from mora.report.markup import decimals, fill, macros
from mora.report.page import Head

EXAMPLES_SHOWN = 5  # of each end
ENDS = {"best": "highest", "worst": "lowest"}


def head(comparison: RewardComparison) -> Head:
    """Title, what is compared, and warnings."""
    seeds = ", ".join(f"{method.name} {len(method.seeds)}" for method in comparison.methods)
    return Head(
        kind="mora comparison",
        eyebrow="mora comparison of reward models",
        name=comparison.name,
        lead=fill("comparison_lead.html", comparison=comparison, rewards=True, seeds=seeds),
        warnings=comparison.warnings,
    )


def verdicts(comparison: RewardComparison) -> str:
    """What is said of each pair, on each objective."""
    if not comparison.family:
        return ""
    objective, places = macros("parts.html").objective, comparison.objectives.index
    pairs = [
        (pair, [(objective(o, places(o)), [found[name] for name in COMPARED]) for o, found in pair.verdicts.items()])
        for pair in comparison.pairs
    ]
    return verdict_table(comparison, [comparison.metrics[name].title for name in COMPARED], pairs, rewards=True)


def metrics(comparison: RewardComparison) -> str:
    """Every number of every method: a table per objective."""
    tables = []
    for index, objective in enumerate(comparison.objectives):
        rows = []
        for name, about in comparison.metrics.items():
            entries = [method.metrics[objective].get(name) for method in comparison.methods]
            known = [entry.value for entry in entries if entry is not None and np.isfinite(entry.value)]
            if known:
                rows.append((about, min(decimals(known), 3), entries))
        heads = [macros("parts.html").objective(objective, index), *method_heads(comparison)]
        tables.append((objective, heads, rows))
    covers = methods_coverage(comparison)
    return fill("metrics.html", comparison=comparison, share=share(comparison), covers=covers, tables=tables)


def agreement(comparison: RewardComparison) -> str:
    """How alike two methods judge: a table per objective."""
    if not comparison.agreement:
        return ""
    names = comparison.names
    tables = [(o, [[_alike(comparison, o, a, b) for b in names] for a in names]) for o in comparison.objectives]
    return fill("agreement.html", heads=method_heads(comparison), tables=tables)


def _alike(comparison: RewardComparison, objective: str, a: str, b: str) -> tuple[float, float] | None:
    """The share of pairs that two methods order alike and the correlation of their margins, means over their runs."""
    found = [
        (row.same_order, row.correlation)
        for row in comparison.agreement
        if row.objective == objective and sorted((row.a, row.b)) == sorted((a, b))
    ]
    return tuple(np.array(found).mean(0).tolist()) if found else None


def examples(comparison: RewardComparison, rows: Sequence[Mapping[str, Any]]) -> str:
    """The answers that the first seed of each method scores highest and lowest, side by side."""
    tables = []
    for objective in comparison.objectives:
        for end, title in ENDS.items():
            columns = [
                [r for r in rows if (r["run"], r["objective"], r["end"]) == (method.runs[0], objective, end)]
                for method in comparison.methods
            ]
            count = min(EXAMPLES_SHOWN, max((len(column) for column in columns), default=0))
            if count:
                ranked = [[column[i] if i < len(column) else None for column in columns] for i in range(count)]
                tables.append((objective, title, ranked))
    heads = method_heads(comparison)
    return fill("examples.html", tables=tables, heads=heads, columns=range(1, len(heads) + 1)) if tables else ""


def methods(comparison: RewardComparison) -> str:
    """What each method is, and the settings in which they differ."""
    return methods_table(comparison, rewards=True)
