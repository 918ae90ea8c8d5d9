"""The words and tables of a comparison page of reward models, each a function from the comparison to HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mora.report import markup
from mora.report.compare_verdicts import cells, decimals, written
from mora.report.markup import text
from mora.report.reward_comparison_tables import COMPARED, RewardComparison, RewardPair, Value
from mora.report.style import number
from mora.turns import readable

EXAMPLES_SHOWN = 5  # of each end
ENDS = {"best": "highest", "worst": "lowest"}


def head(comparison: RewardComparison, sections: Sequence[tuple[str, str]]) -> str:
    """Title, what is compared, warnings, and the way to the sections."""
    names = [markup.method(name, i) for i, name in enumerate(comparison.names)]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    objectives = ", ".join(markup.objective(name, i) for i, name in enumerate(comparison.objectives))
    seeds = ", ".join(f"{text(method.name)} {len(method.seeds)}" for method in comparison.methods)
    lead = (
        f"Reward models {listed}, compared over {objectives}: all judged the same {comparison.held_out:,} held-out "
        f"pairs of <code>{text(comparison.dataset['name'])}</code> ({comparison.prompts:,} prompts). Trained seeds: "
        f"{seeds}."
    )
    links = " ".join(f'<a href="#{anchor}">{text(title)}</a>' for anchor, title in sections)
    warned = "".join(markup.warning(text(message)) for message in comparison.warnings)
    return (
        f'<header><p class="eyebrow">mora comparison of reward models</p><h1>{text(comparison.name)}</h1>'
        f'<p class="lead">{lead}</p>{warned}<nav aria-label="Sections">{links}</nav></header>'
    )


# --- verdicts --------------------------------------------------------------------------------------------------------


def verdicts(comparison: RewardComparison) -> str:
    """What is said of each pair, first in words, then in numbers."""
    if not comparison.family:
        return ""
    said = "".join(f"<li>{text(pair.said)}</li>" for pair in comparison.pairs)
    covers: dict[str, list[str]] = {}
    for pair in comparison.pairs:
        covers.setdefault(pair.covers, []).append(f"{pair.a} − {pair.b}")
    reach = next(iter(covers)) if len(covers) == 1 else "; ".join(f"{', '.join(v)}: {k}" for k, v in covers.items())
    note = (
        f"A difference is the first method less the second on the same pairs, with its own "
        f"{100 * comparison.level:.3g} % interval: a paired bootstrap over prompts, and over seeds where both have "
        f"several. Intervals cover: {text(reach)}. p is two-sided, after Holm’s correction over all "
        f"{comparison.family} comparisons of this page, raw before it; a verdict stands where it is at most "
        f"{1 - comparison.level:.2g} and names the better one: more accuracy, less log-loss. "
        "<strong>Undecided</strong> means that these data do not settle the order, not that the methods are equal."
    )
    heads = "".join(
        f'<th scope="colgroup" colspan="2" class="group first">{text(comparison.metrics[name]["title"])}</th>'
        for name in COMPARED
    )
    columns = '<th scope="col" class="number first">difference</th><th scope="col">verdict, p after Holm</th>'
    body = "".join(_rows(comparison, pair) for pair in comparison.pairs)
    caption = "Verdicts on every pair of methods"
    return (
        f'<section id="verdicts"><h2>Verdicts</h2><ul class="said">{said}</ul>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table class="verdicts">'
        f'<caption>{caption}</caption><thead><tr><th scope="col" rowspan="2">pair</th>'
        f'<th scope="col" rowspan="2">objective</th>{heads}</tr><tr>{columns * len(COMPARED)}</tr></thead>{body}'
        f'</table></div><p class="note">{note}</p></section>'
    )


def _rows(comparison: RewardComparison, pair: RewardPair) -> str:
    places = [comparison.names.index(name) for name in (pair.a, pair.b)]
    both = "<br>− ".join(markup.method(name, i) for name, i in zip((pair.a, pair.b), places, strict=True))
    rows = []
    for place, (objective, entries) in enumerate(pair.verdicts.items()):
        row = f'<th scope="rowgroup" rowspan="{len(pair.verdicts)}">{both}</th>' if place == 0 else ""
        row += f'<th scope="row">{markup.objective(objective, comparison.objectives.index(objective))}</th>'
        rows.append(f"<tr>{row}{''.join(cells(pair, entries[name]) for name in COMPARED)}</tr>")
    return f"<tbody>{''.join(rows)}</tbody>"


# --- numbers ---------------------------------------------------------------------------------------------------------


def metrics(comparison: RewardComparison) -> str:
    """Every number of every method: a table per objective."""
    covers = dict.fromkeys(method.covers for method in comparison.methods)
    said = next(iter(covers)) if len(covers) == 1 else "; ".join(f"{m.name}: {m.covers}" for m in comparison.methods)
    note = (
        f"Means over seeds. In brackets: {100 * comparison.level:.3g} % intervals, which cover: {text(said)}; ± is the "
        "standard deviation of single seeds. Arrows say which direction is better."
    )
    body = "".join(_metrics_table(comparison, i, objective) for i, objective in enumerate(comparison.objectives))
    return f'<section id="metrics"><h2>Numbers</h2><p class="note">{note}</p>{body}</section>'


def _metrics_table(comparison: RewardComparison, index: int, objective: str) -> str:
    rows = []
    for name, about in comparison.metrics.items():
        entries = [method.metrics[objective].get(name) for method in comparison.methods]
        known = [entry.value for entry in entries if entry is not None and np.isfinite(entry.value)]
        if not known:
            continue
        arrow = {"higher": " ↑", "lower": " ↓"}.get(about["better"], "")
        title = f"{text(about['title'])}{arrow}<small>{text(about['definition'])}</small>"
        digits = min(decimals(known), 3)
        rows.append([title, *[_value(entry, digits) for entry in entries]])
    size = comparison.sizes[objective]
    caption = f"{objective}: {size['labelled']:,} labelled pairs, {size['decided']:,} decided"
    heads = [markup.objective(objective, index), *[markup.method(name, i) for i, name in enumerate(comparison.names)]]
    return markup.table(heads, rows, caption=caption, css="indicators")


def _value(entry: Value | None, digits: int) -> str:
    if entry is None or not np.isfinite(entry.value):
        return "–"
    value = written(entry.value, digits)
    if entry.interval is not None:
        low, high = (written(float(end), digits) for end in entry.interval)
        return f"{value}<small>[{low}, {high}]</small>"
    if len(entry.by_seed) > 1 and np.isfinite(entry.by_seed).all():
        return f"{value}<small>± {written(float(entry.by_seed.std(ddof=1)), digits)}</small>"
    return value


def agreement(comparison: RewardComparison) -> str:
    """How alike two methods judge: a table per objective."""
    if not comparison.agreement:
        return ""
    heads = ["", *[markup.method(name, i) for i, name in enumerate(comparison.names)]]
    body = "".join(
        markup.table(
            heads,
            [
                [markup.method(a, i), *[_alike(comparison, objective, a, b) for b in comparison.names]]
                for i, a in enumerate(comparison.names)
            ],
            caption=objective,
        )
        for objective in comparison.objectives
    )
    note = (
        "Share of pairs that two runs order alike, and below it Pearson’s correlation of their margins; means over the "
        "runs of two methods, on the diagonal over different seeds of one. Seeds that agree no more than methods do "
        "leave little for the method to explain."
    )
    return f'<section id="agreement"><h2>Agreement</h2><p class="note">{note}</p>{body}</section>'


def _alike(comparison: RewardComparison, objective: str, a: str, b: str) -> str:
    found = [
        (row["same_order"], row["correlation"])
        for row in comparison.agreement
        if row["objective"] == objective and sorted((row["a"], row["b"])) == sorted((a, b))
    ]
    if not found:
        return "–"
    order, correlation = np.array(found).mean(0)
    return f"{number(float(order), 2)}<small>r {number(float(correlation), 2)}</small>"


# --- texts and conditions --------------------------------------------------------------------------------------------


def examples(comparison: RewardComparison, rows: Sequence[Mapping[str, Any]]) -> str:
    """The answers that the first seed of each method scores highest and lowest, side by side."""
    blocks = []
    for objective in comparison.objectives:
        for end, title in ENDS.items():
            columns = [
                [r for r in rows if (r["run"], r["objective"], r["end"]) == (method.runs[0], objective, end)]
                for method in comparison.methods
            ]
            count = min(EXAMPLES_SHOWN, max((len(column) for column in columns), default=0))
            if count:
                lines = [[str(i + 1), *[_example(c[i]) if i < len(c) else "–" for c in columns]] for i in range(count)]
                heads = ["rank", *[markup.method(name, i) for i, name in enumerate(comparison.names)]]
                words = range(1, len(heads))
                table = markup.table(heads, lines, caption=f"{objective}: {title} scores", words=words)
                blocks.append(markup.fold(f"{objective}, {title} scores", table))
    return f'<section id="examples"><h2>Extreme answers</h2>{"".join(blocks)}</section>' if blocks else ""


def _example(row: Mapping[str, Any]) -> str:
    return (
        f'<div class="answer" dir="auto">{text(readable(row["prompt"]))}<br><b>{text(row["response"])}</b></div>'
        f"<small>{number(row.get('score'), 2)}</small>"
    )


def methods(comparison: RewardComparison) -> str:
    """What each method is, and the settings in which they differ."""
    names = ["reward", "model", "runs", "seeds", "intervals cover"]
    values = [
        [
            text(method.kind),
            f"<code>{text(method.model)}</code>",
            "<br>".join(f"<code>{text(run)}</code>" for run in method.runs),
            text(", ".join(str(seed) for seed in method.seeds)),
            text(method.covers),
        ]
        for method in comparison.methods
    ]
    heads = ["", *[markup.method(name, i) for i, name in enumerate(comparison.names)]]
    rows = [[name, *cells] for name, *cells in zip(names, *values, strict=True)]
    body = markup.table(heads, rows, caption="The methods", words=range(1, len(heads)))
    keys = list(dict.fromkeys(key for method in comparison.methods for key in method.settings))
    if keys:
        rows = [[f"<code>{text(key)}</code>", *[_setting(m.settings, key) for m in comparison.methods]] for key in keys]
        caption = "Settings in which the methods differ"
        body += markup.table(["setting", *heads[1:]], rows, caption=caption, words=range(1, len(heads)))
    return f'<section id="methods"><h2>What was compared</h2>{body}{_conditions(comparison)}</section>'


def _setting(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "–"
    value = settings[key]
    return f"<code>{text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}</code>"


def _conditions(comparison: RewardComparison) -> str:
    data = comparison.dataset
    facts = {
        "pairs": f"the held-out pairs of <code>{text(data['run'])}</code>, <code>{text(data['pairs'])}</code>",
        "intervals": f"{comparison.resamples:,} resamples of prompts, and of seeds where a method has several; "
        "bias-corrected, Student’s t",
        "files": " · ".join(
            f'<a href="../tables/{name}">{name}</a>'
            for name in ("reward_comparison.json", "reward_curves.json", "metrics.csv", "differences.csv",
                         "agreement.csv", "pairs.csv", "examples.jsonl")
        ),
    }  # fmt: skip
    return f'<dl class="facts">{"".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts.items())}</dl>'
