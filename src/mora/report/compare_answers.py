"""The last parts of a comparison page: answers side by side, and the conditions under which all was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mora.functional.thinning import evenly
from mora.report import markup
from mora.report.compare_tables import REFERENCE, Comparison
from mora.report.markup import text
from mora.report.style import number
from mora.report.tables import SPLIT_NAMES
from mora.turns import readable

PROMPTS_SHOWN = 6
Rows = Sequence[Mapping[str, Any]]


def answers(comparison: Comparison, rows: Rows) -> str:
    """Answers to the same prompts: a row per preference, the reference policy first, and a column per method."""
    named = {*comparison.names, *(REFERENCE + name for name in comparison.names)}
    rows = [row for row in rows if row["method"] in named]
    prompts = evenly(list(dict.fromkeys(row["prompt"] for row in rows)), PROMPTS_SHOWN)
    if not prompts:
        return ""
    body = "".join(_prompt_block(comparison, prompt, [r for r in rows if r["prompt"] == prompt]) for prompt in prompts)
    note = (
        "One sample each, not selected. Below an answer: its scores by the judge, and its part in the estimate of "
        "the KL in nats, which is negative for an answer that the reference policy prefers. Scores in "
        f"{comparison.unit}."
    )
    return f'<section id="answers"><h2>Answers side by side</h2><p class="note">{text(note)}</p>{body}</section>'


def _prompt_block(comparison: Comparison, prompt: str, rows: Rows) -> str:
    lines = [_reference_line(comparison, rows)]
    found = {(row["method"], _key(row["preference"])): row for row in rows if row.get("preference") is not None}
    for preference in _shown(comparison, [key for _, key in found]):
        cells = "".join(
            f'<td class="text" data-label="{text(name)}">{_answer(comparison, found.get((name, preference)))}</td>'
            for name in comparison.names
        )
        lines.append(f'<tr><th scope="row">{markup.mix(preference, comparison.objectives)}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{markup.method(name, i)}</th>' for i, name in enumerate(comparison.names))
    return (
        f'<h3>Prompt</h3><div class="prompt" dir="auto">{text(readable(prompt))}</div><div class="scroll" tabindex="0" '
        f'role="region" aria-label="Answers"><table class="samples answers"><thead><tr><th scope="col">preference</th>'
        f"{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _reference_line(comparison: Comparison, rows: Rows) -> str:
    """What each method started from: one cell where that is the same answer for all of them."""
    found = {row["method"]: row for row in rows if str(row["method"]).startswith(REFERENCE)}
    starts = [found.get(REFERENCE + name) for name in comparison.names]
    known = [start for start in starts if start is not None]
    if not known:
        return ""
    if len({start["response"] for start in known}) == 1:
        cells = f'<td class="text" colspan="{len(starts)}">{_answer(comparison, known[0])}</td>'
    else:
        cells = "".join(f'<td class="text">{_answer(comparison, start)}</td>' for start in starts)
    return f'<tr><th scope="row">reference policy</th>{cells}</tr>'


def _key(preference: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(weight), 9) for weight in preference)


def _shown(comparison: Comparison, found: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The preferences of the answers, in the order of the grid as far as it has them."""
    grid = [_key(preference) for preference in comparison.preferences]
    known = list(dict.fromkeys(found))
    order = {preference: place for place, preference in enumerate(grid)}
    return sorted(known, key=lambda preference: (order.get(preference, len(grid)), preference))


def _answer(comparison: Comparison, row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    scores = row.get("scores") or []
    facts = [
        f"{markup.objective(name, i)} {number(score, 2)}"
        for i, (name, score) in enumerate(zip(comparison.objectives, scores, strict=False))
    ]
    facts += [f"KL part {number(row['kl'], 1)}"] if row.get("kl") is not None else []
    facts += ["cut off"] if row.get("ended") is False else []
    return f'<div class="answer" dir="auto">{text(row["response"])}</div><small>{" · ".join(facts)}</small>'


# --- conditions ------------------------------------------------------------------------------------------------------


def conditions(comparison: Comparison, folder: Path) -> str:
    """How it was measured, by what rules, and the files that hold the numbers."""
    facts = "".join(f"<dt>{text(title)}</dt><dd>{said}</dd>" for title, said in _facts(comparison) if said)
    files = sorted(p.name for p in (folder / "tables").glob("*") if p.suffix in (".csv", ".json", ".jsonl"))
    links = "".join(f'<li><a href="../tables/{text(name)}">{text(name)}</a></li>' for name in files)
    listed = f'<h3>Files</h3><ul class="files">{links}</ul>' if links else ""
    return f'<section id="conditions"><h2>Conditions</h2><dl class="facts">{facts}</dl>{listed}</section>'


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    about = comparison.about
    standard, z = about.get("standardization") or {}, about.get("reference_point") or {}
    granted, data, judge = about.get("kl_budget") or {}, about.get("dataset") or {}, about["judge"]
    sampling = ", ".join(f"{key} {value}" for key, value in (about.get("sampling") or {}).items())
    draws = about.get("resamples")
    return [
        ("judge", f"{text(judge['name'])}, {text(judge['kind'])}; unit: {text(judge['unit'])}"),
        ("standardization", _standardization(comparison, standard)),
        ("reference point", _rule(comparison, comparison.reference_point, z)),
        ("KL budget", _budget(comparison, granted)),
        ("sampling", f"{text(sampling)}; seed {text(about.get('seed', '–'))}" if sampling else ""),
        ("prompts", f"{comparison.prompts} {SPLIT_NAMES[about['split']]} of {text(data.get('name', '–'))}, "
                    f"{comparison.samples_per_prompt} samples each{_hashes(data)}"),
        ("trained seeds", "; ".join(f"{text(m.name)}: {text(', '.join(map(str, m.seeds)))}"
                                    for m in comparison.methods)),
        ("intervals", f"{100 * comparison.level:.3g} %, from {text(draws)} resamples" if draws else ""),
        ("utility", "⟨preference, scores⟩, in the unit of the scores"),
    ]  # fmt: skip


def _hashes(data: Mapping[str, Any]) -> str:
    """What else identifies the prompts: hashes by their names."""
    more = ((key.replace("_", " "), value) for key, value in data.items() if key != "name")
    return "".join(f"; {text(key)} <code>{text(value)}</code>" for key, value in more)


def _named(comparison: Comparison, values: Any) -> str:
    pairs = enumerate(zip(comparison.objectives, values, strict=False))
    return ", ".join(f"{markup.objective(name, i)} {number(value)}" for i, (name, value) in pairs)


def _standardization(comparison: Comparison, table: Mapping[str, Any]) -> str:
    if not table:
        return ""
    mean, std = (_named(comparison, table.get(key) or []) for key in ("mean", "std"))
    return f"{text(table.get('rule', ''))}: mean {mean}; deviation {std}; {text(table.get('answers', '–'))} answers"


def _rule(comparison: Comparison, values: Any, table: Mapping[str, Any]) -> str:
    unscaled = _named(comparison, table.get("unscaled") or [])
    rule = f"; rule: {text(table['rule'])}" if table.get("rule") else ""
    return f"{_named(comparison, values)}{f' (unscaled: {unscaled})' if unscaled else ''}{rule}"


def _budget(comparison: Comparison, table: Mapping[str, Any]) -> str:
    known = comparison.kl_budget[np.isfinite(comparison.kl_budget)]
    if not len(known):
        return ""
    low, high = number(float(known.min()), 2), number(float(known.max()), 2)
    return f"{low if low == high else f'{low} to {high}'} nats; rule: {text(table.get('rule', '–'))}"
