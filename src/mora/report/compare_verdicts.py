"""The head of a comparison page: what is compared, what must be known first, and the verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mora.report import markup
from mora.report.compare_tables import JUDGED, Comparison, Pair, Verdict
from mora.report.markup import text
from mora.report.reward_comparison_tables import RewardPair
from mora.report.style import number
from mora.report.tables import SPLIT_NAMES

TITLES = {"hypervolume": "hypervolume", "inner_product": "realized utility"}


def decimals(values: Iterable[float]) -> int:
    """How many decimals numbers need beside the largest of them: three for 0.01 to 10, none from 1,000 on, six at most.

    Numbers that are compared share their decimals.
    """
    most = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    size = math.floor(math.log10(most)) if most > 0.0 else 0
    return max(3 - size, 0) if size > 0 else 3 if size > -3 else min(1 - size, 6)


def written(value: float, digits: int) -> str:
    """A number with ``digits`` decimals and its thousands separated; never a negative zero."""
    if not math.isfinite(value):
        return number(value)
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def p_value(p: float) -> str:
    """A p-value with three decimals; one below 0.001 is only said to be so."""
    return "&lt; 0.001" if p < 0.001 else number(p)


def named(pair: Pair | RewardPair, verdict: str) -> str:
    """A verdict with the names of the methods."""
    winner, other = (pair.a, pair.b) if verdict == "A > B" else (pair.b, pair.a)
    return verdict if verdict == "undecided" else f"{winner} > {other}"


def cells(pair: Pair | RewardPair, verdict: Verdict) -> str:
    """Two cells of a row of verdicts: the difference with its interval, and what is said of it with its p."""
    values = (verdict.difference, *verdict.interval)
    difference, low, high = (written(value, decimals(values)) for value in values)
    sign = "+" if verdict.difference > 0 else ""
    undecided = verdict.verdict == "undecided"
    said = text(named(pair, verdict.verdict)).replace(" &gt; ", " <wbr>&gt; ")
    decided = f'<span class="undecided">{said}</span>' if undecided else f"<b>{said}</b>"
    p = f"<small>p {p_value(verdict.p_holm)}, raw {p_value(verdict.p)}</small>"
    return f'<td class="number first">{sign}{difference} <small>[{low}, {high}]</small></td><td>{decided}{p}</td>'


def favored(pair: Pair) -> str:
    """What the sweep of reference points says, with the names of the methods."""
    return {"A": pair.a, "B": pair.b, "": "–"}.get(pair.by_reference_point, pair.by_reference_point)


def head(comparison: Comparison, sections: Sequence[tuple[str, str]]) -> str:
    """Title, what is compared, warnings, and the way to the sections."""
    links = " ".join(f'<a href="#{anchor}">{text(title)}</a>' for anchor, title in sections)
    parts = ['<p class="eyebrow">mora comparison</p>', f"<h1>{text(comparison.name)}</h1>"]
    parts.append(f'<p class="lead">{_lead(comparison)}</p>')
    parts += [markup.warning(text(message)) for message in comparison.warnings]
    return f"<header>{''.join(parts)}<nav aria-label='Sections'>{links}</nav></header>"


def _lead(comparison: Comparison) -> str:
    names = [markup.method(method.name, i) for i, method in enumerate(comparison.methods)]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    objectives = ", ".join(markup.objective(name, i) for i, name in enumerate(comparison.objectives))
    judge = comparison.about["judge"]
    count = len(comparison.preferences)
    return (
        f"{listed}, compared over {objectives} at {count} preference{'' if count == 1 else 's'}, on the same "
        f"{comparison.prompts} {SPLIT_NAMES[comparison.about['split']]} with {comparison.samples_per_prompt} samples "
        f"each{_data(comparison)}. Judge: {text(judge['name'])} ({text(judge['kind'])}). {_seeds(comparison)}"
    )


def _data(comparison: Comparison) -> str:
    name = (comparison.about.get("dataset") or {}).get("name")
    return f" of <code>{text(name)}</code>" if name else ""


def _seeds(comparison: Comparison) -> str:
    counts = [len(method.seeds) for method in comparison.methods]
    if len(set(counts)) == 1:
        return f"{counts[0]} trained seed{'' if counts[0] == 1 else 's'} per method."
    said = ", ".join(f"{text(m.name)} {n}" for m, n in zip(comparison.methods, counts, strict=True))
    return f"Trained seeds: {said}."


def verdicts(comparison: Comparison) -> str:
    """What is said of each pair, first in words, then in numbers."""
    if not comparison.pairs:
        return ""
    share, error = f"{100 * comparison.level:.3g} %", f"{1 - comparison.level:.2g}"
    said = "".join(f"<li>{text(pair.said)}</li>" for pair in comparison.pairs)
    covers: dict[str, list[str]] = {}
    for pair in comparison.pairs:
        covers.setdefault(pair.covers, []).append(f"{pair.a} − {pair.b}")
    if len(covers) == 1:
        reach = f"Intervals cover: {text(next(iter(covers)))}."
    else:
        reach = "Intervals cover: " + "; ".join(f"{text(', '.join(v))}: {text(k)}" for k, v in covers.items()) + "."
    note = (
        f"A difference is the first method minus the second, with its own {share} interval. {reach} p is two-sided, "
        f"after Holm’s correction over all {comparison.family} comparisons of this page, raw before it; a verdict "
        f"stands where it is at most {error}. <strong>Undecided</strong> means that these data do not settle the "
        "order, not that the methods are equal. “By reference point” says which method has the greater "
        "hypervolume, by the point estimates, wherever z lies between the nadir of the two and one range below it."
    )
    return (
        f'<section id="verdicts"><h2>Verdicts</h2><ul class="said">{said}</ul>{_table(comparison)}'
        f'<p class="note">{note}</p></section>'
    )


def _table(comparison: Comparison) -> str:
    matched = any(pair.at_matched_kl for pair in comparison.pairs)
    parts = ["at its own KL", "at matched KL"] if matched else ["at its own KL"]
    groups = "".join(f'<th scope="colgroup" colspan="2" class="group first">{part}</th>' for part in parts)
    columns = '<th scope="col" class="number first">difference</th><th scope="col">verdict, p after Holm</th>'
    body = "".join(_rows(comparison, pair, matched) for pair in comparison.pairs)
    caption = "Verdicts on every pair of methods"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table class="verdicts">'
        f"<caption>{caption}</caption><thead><tr>"
        f'<th scope="col" rowspan="2">pair</th><th scope="col" rowspan="2">indicator</th>{groups}'
        f'<th scope="col" rowspan="2" class="first">by reference point</th></tr><tr>{columns * len(parts)}</tr></thead>'
        f"{body}</table></div>"
    )


def _rows(comparison: Comparison, pair: Pair, matched: bool) -> str:
    places = [comparison.names.index(name) for name in (pair.a, pair.b)]
    both = "<br>− ".join(markup.method(name, i) for name, i in zip((pair.a, pair.b), places, strict=True))
    rows = []
    for place, name in enumerate(JUDGED):
        row = f'<th scope="rowgroup" rowspan="{len(JUDGED)}">{both}</th>' if place == 0 else ""
        row += f'<th scope="row">{TITLES[name]}</th>{cells(pair, pair.verdicts[name])}'
        if matched:
            row += cells(pair, pair.at_matched_kl[name]) if pair.at_matched_kl else '<td class="first">–</td><td>–</td>'
        if place == 0:
            row += f'<td class="first favored" rowspan="{len(JUDGED)}">{text(favored(pair))}</td>'
        rows.append(f"<tr>{row}</tr>")
    return f"<tbody>{''.join(rows)}</tbody>"
