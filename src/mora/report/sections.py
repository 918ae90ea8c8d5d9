"""The parts of the page, each a function from tables to HTML; a part without data is an empty string."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mora.functional.thinning import evenly
from mora.report import markup
from mora.report.fronts import SCORER_NAMES, keep, scorer_title
from mora.report.hard_cases import conflict_table
from mora.report.markup import text
from mora.report.regret import lead, tiles
from mora.report.style import Plate, number
from mora.report.tables import SPLIT_NAMES, Front, Regret, Stage
from mora.turns import readable

PROMPTS_SHOWN = 6
CUT_TOLD = 0.05  # share of answers that were cut off from which on a reader is told
TRAINED = "trained the policy"  # key of a scorer's provenance
TILES = {
    "hypervolume": "hypervolume",
    "inner_product": "mean utility realized",
    "sparsity": "sparsity",
    "kendall_tau": "Kendall's tau, lowest",
}


def head(
    front: Front | None,
    stages: Sequence[Stage],
    run: str,
    sections: Sequence[tuple[str, str]],
    *,
    regrets: Sequence[Regret] = (),
) -> str:
    """What was run, what must be known before reading on, and the way to the sections.

    A run that has no front is summed up by its regret, if it has one.
    """
    links = " ".join(f'<a href="#{anchor}">{text(title)}</a>' for anchor, title in sections)
    parts = ['<p class="eyebrow">mora report</p>', f"<h1>{text(run)}</h1>"]
    chain = " → ".join(text(stage.name) for stage in stages)
    summary = _summary(front) if front else lead(regrets) if regrets else ""
    parts.append(f'<p class="lead">{summary} Stages: {chain}.</p>')
    parts += [markup.warning(message) for message in _warnings(front)]
    values = _indicator_tiles(front) if front else tiles(regrets) if regrets else []
    if values:
        items = [f'<li><span class="value">{v}</span><span class="name">{name}</span></li>' for v, name in values]
        parts.append(f'<ul class="tiles">{"".join(items)}</ul>')
    return f"<header>{''.join(parts)}<nav aria-label='Sections'>{links}</nav></header>"


def _summary(front: Front) -> str:
    objectives = ", ".join(markup.objective(name, i) for i, name in enumerate(front.objectives))
    counts = f"{len(front.preferences)} preferences"
    if front.prompts:
        counts += f", {text(front.prompts)} {SPLIT_NAMES[front.split]}"
    if front.samples_per_prompt:
        counts += f", {text(front.samples_per_prompt)} answers per prompt and preference"
    judge = SCORER_NAMES[front.judge] + _provenance(front.scorers.get(front.judge))
    seed = "" if front.seed is None else f", seed {text(front.seed)}"
    return f"Model <code>{text(front.model)}</code>, steered over {objectives}; {counts}{seed}. Judged by the {judge}."


def _provenance(entry: Mapping[str, Any] | None) -> str:
    known = {key: value for key, value in (entry or {}).items() if isinstance(value, str)}
    return f" ({text(', '.join(f'{key} {value}' for key, value in known.items()))})" if known else ""


def _warnings(front: Front | None) -> list[str]:
    if front is None:
        return []
    found = []
    if front.split == "train":
        found.append(
            "<strong>No held-out prompts.</strong> The dataset has none, so the policy answered prompts that it was "
            "trained on. The figures say nothing of new prompts: indicators have no intervals, and bars only say how "
            "far these prompts differ among themselves."
        )
    if front.smoke:
        found.append(_smoke(front.model))
    if front.scorers.get(front.judge, {}).get(TRAINED, front.judge == "reward"):
        found.append(
            "<strong>The judge trained the policy.</strong> The scores below come from the "
            f"{SCORER_NAMES[front.judge]} that the policy was optimized for, so they may overstate what was gained. "
            "Prefer a judge that training never saw."
        )
    cut = 1 - front.columns["ended"][np.isfinite(front.columns["ended"])]
    if len(cut) and cut.max() >= CUT_TOLD:
        found.append(
            f"<strong>Answers were cut off.</strong> At a preference up to {cut.max():.0%} of the answers did not end "
            "within dataset.max_response tokens; they are scored as they stand, without an end."
        )
    return found


def _smoke(model: str) -> str:
    return (
        f"<strong>Smoke model.</strong> <code>{text(model)}</code> is tiny and starts from random weights. "
        "These figures show that the pipeline works; they say nothing about a real model. "
        "On real texts it may lose to a bag of words."
    )


def _indicator_tiles(front: Front) -> list[tuple[str, str]]:
    """The indicators that the page begins with, as (value, name)."""
    found = []
    for name, title in TILES.items():
        value = front.indicators[front.judge].get(name, {}).get("value")
        values = [v for v in (value if isinstance(value, list) else [value]) if v is not None]
        if values:
            found.append((number(min(values)), title))
    return found


def figures(anchor: str, title: str, plates: Sequence[Plate]) -> str:
    """A section of figures."""
    if not plates:
        return ""
    body = "".join(markup.plate(plate) for plate in plates)
    return f'<section id="{anchor}"><h2>{text(title)}</h2>{body}</section>'


def samples(front: Front, rows: Sequence[Mapping[str, Any]]) -> str:
    """Answers to the same prompts at the vertices and the center of the simplex."""
    rows = [row for row in rows if row.get("preference") and not row.get("sample")]
    chosen = _shown_preferences(front, rows)
    prompts = evenly(list(dict.fromkeys(row["prompt"] for row in rows)), PROMPTS_SHOWN)
    blocks = [_prompt_block(front, prompt, chosen, rows) for prompt in prompts]
    if not blocks or not chosen:
        return ""
    note = (
        "The same prompts at different preferences: the first sample of each, not selected. Scores are those of the "
        f"{' and the '.join(SCORER_NAMES[s] for s in _sample_scorers(front))}."
    )
    return f'<section id="samples"><h2>What it writes</h2><p class="note">{text(note)}</p>{"".join(blocks)}</section>'


def _sample_scorers(front: Front) -> list[str]:
    """All scorers, or the judge alone where their columns would leave no room for the text."""
    return front.shown if len(front.shown) * len(front.objectives) <= 6 else [front.judge]


def _shown_preferences(front: Front, rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, ...]]:
    """The sampled preferences nearest to the vertices and the center, in the order of the objectives."""
    sampled = list(dict.fromkeys(tuple(row["preference"]) for row in rows))
    width = len(front.objectives)
    wanted = [*np.eye(width), np.full(width, 1 / width)]
    if width == 2:
        wanted = [wanted[0], wanted[2], wanted[1]]
    if not sampled:
        return []
    nearest = [sampled[int(np.abs(np.array(sampled) - corner).sum(1).argmin())] for corner in wanted]
    return list(dict.fromkeys(nearest))


def _prompt_block(
    front: Front, prompt: str, chosen: Sequence[tuple[float, ...]], rows: Sequence[Mapping[str, Any]]
) -> str:
    scorers = _sample_scorers(front)
    columns = [(s, i) for s in scorers for i in range(len(front.objectives))]
    titles = [f"{name}, {s}" if len(scorers) > 1 else name for s in scorers for name in front.objectives]
    found = {tuple(row["preference"]): row for row in rows if row["prompt"] == prompt}
    lines = []
    for preference in chosen:
        row = found.get(preference)
        if row is None:
            continue
        scores = [(row.get(scorer) or [None] * len(front.objectives))[i] for scorer, i in columns]
        cells = "".join(
            f'<td class="number" data-label="{text(title)}">{number(score, 2)}</td>'
            for title, score in zip(titles, scores, strict=True)
        )
        cut = "<small>cut off</small>" if row.get("ended") is False else ""
        lines.append(
            f'<tr><th scope="row">{markup.mix(preference, front.objectives)}</th><td class="text"><div class="answer" '
            f'dir="auto">{text(row["response"])}</div>{cut}</td>{cells}</tr>'
        )
    heads = "".join(f'<th scope="col" class="number">{text(title)}</th>' for title in titles)
    return (
        f'<h3>Prompt</h3><div class="prompt" dir="auto">{text(readable(prompt))}</div><div class="scroll">'
        f'<table class="samples"><thead><tr><th scope="col">preference</th><th scope="col">answer</th>{heads}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def numbers(front: Front) -> str:
    """The indicators with their definitions and reference points, and one row per preference."""
    return (
        f'<section id="numbers"><h2>The numbers</h2>{_indicator_table(front)}{_reference_notes(front)}'
        f"{_preference_table(front)}</section>"
    )


def _indicator_table(front: Front) -> str:
    names = list(dict.fromkeys(name for scorer in front.shown for name in front.indicators[scorer]))
    rows = []
    for name in names:
        entries = [front.indicators[scorer].get(name, {}) for scorer in front.shown]
        definition = next((e["definition"] for e in entries if e.get("definition")), "")
        cells = [_value(entry, front.objectives) for entry in entries]
        rows.append([text(name.replace("_", " ")), *cells, text(definition)])
    columns = ["indicator", *[text(scorer_title(front, scorer)) for scorer in front.shown], "definition"]
    caption = (
        "Indicators of the front. Intervals are over prompts, for this trained policy: another seed, or another "
        "machine’s rounding, may differ by more."
    )
    return markup.table(columns, rows, caption=caption, words=[len(columns) - 1]) if rows else ""


def _value(entry: Mapping[str, Any], objectives: Sequence[str]) -> str:
    value, interval = entry.get("value"), entry.get("interval")
    if isinstance(value, list):
        named = zip(objectives, value, strict=False)
        return "<br>".join(f"{markup.objective(o, i)} {number(v)}" for i, (o, v) in enumerate(named))
    between = f" <small>[{number(interval[0])}, {number(interval[1])}]</small>" if interval else ""
    return number(value) + between


def _reference_notes(front: Front) -> str:
    notes = []
    for scorer, (point, rule) in front.reference_points.items():
        values = ", ".join(f"{text(o)} {number(v)}" for o, v in zip(front.objectives, point, strict=False))
        because = f" Rule: {text(rule)}." if rule else ""
        notes.append(
            f'<p class="note">Reference point z of the hypervolume, {SCORER_NAMES.get(scorer, text(scorer))}: {values}.'
            f"{because}</p>"
        )
    return "".join(notes)


def _preference_table(front: Front) -> str:
    optional = {"kl": "KL, nats", "ended": "ended", "valid": "valid", "distinct": "distinct", "tokens": "tokens"}
    present = {c: t for c, t in optional.items() if np.isfinite(front.columns[c]).any()}
    columns = ["preference", *[text(f"{o}, {s}" if len(front.shown) > 1 else o)
               for s in front.shown for o in front.objectives], *present.values()]  # fmt: skip
    rows, kept = [], keep(front, front.judge)
    if front.reference:
        missing = [math.nan] * len(front.objectives)
        pairs = [
            pair
            for s in front.shown
            for pair in zip(front.reference.get(s, missing), front.reference[f"{s}_stderr"], strict=True)
        ]
        plain = [number(front.reference[c], 1 if c == "tokens" else 3) for c in present]
        rows.append(["reference policy", *[markup.with_error(*pair) for pair in pairs], *plain])
    for p, preference in enumerate(front.preferences):
        cells = [
            markup.with_error(front.scores[s][p, i], front.errors[s][p, i])
            for s in front.shown
            for i in range(len(front.objectives))
        ]
        others = [
            markup.with_error(front.columns[c][p], front.columns["kl_stderr"][p])
            if c == "kl"
            else number(front.columns[c][p], 1 if c == "tokens" else 3)
            for c in present
        ]
        mark = "" if kept[p] else " <small>(dominated)</small>"
        rows.append([markup.mix(tuple(preference), front.objectives) + mark, *cells, *others])
    caption = (
        "One row per preference: mean ± standard error, clustered by prompt. Ended: the share of answers that were not "
        "cut off at the limit. Dominated is said of the judge's scores."
    )
    return markup.table(columns, rows, caption=caption)


def reward(table: Mapping[str, Any] | None, plates: Sequence[Plate], objectives: Sequence[str]) -> str:
    """The reward model: its figures and its held-out accuracy."""
    if not plates and not table:
        return ""
    body = markup.warning(_smoke(str(table.get("model")))) if table and table.get("smoke") else ""
    body += "".join(markup.plate(plate) for plate in plates)
    body += _reward_table(table, objectives) + conflict_table(table) if table else ""
    return f'<section id="reward"><h2>The reward model</h2>{body}</section>'


def _reward_table(reward: Mapping[str, Any], objectives: Sequence[str]) -> str:
    rows = []
    for index, name in enumerate(objectives):
        entry = (reward.get("accuracy") or {}).get(name) or {}
        if entry.get("value") is not None:
            stated = (reward.get("calibration") or {}).get(name) or {}
            error = stated.get("error") or {}
            loss = (reward.get("log_loss") or {}).get(name)
            rows.append(
                [
                    markup.objective(name, index),
                    markup.with_interval(entry["value"], entry.get("interval")),
                    number(entry.get("bayes")),
                    number(loss),
                    f"{number(stated.get('ece'))} ({number(stated.get('ece_if_calibrated'))})",
                    markup.with_interval(error.get("value"), error.get("interval")),
                    text(entry.get("n", "–")),
                ]
            )
    head_cells = ["objective", "accuracy", "best possible", "log-loss, nats", "ECE (if calibrated)",
                  "calibration error", "pairs"]  # fmt: skip
    return markup.table(head_cells, rows, caption=f"Reward model, kind {reward.get('kind', 'unknown')}") if rows else ""


def settings(stages: Sequence[Stage]) -> str:
    """Every settings file of every stage, folded."""
    blocks = [
        markup.details(f"{stage.name}: {name}", content) for stage in stages for name, content in stage.settings.items()
    ]
    if not blocks:
        return ""
    note = (
        "The diff names what departs from the defaults of the run’s own algorithm; the rest is the whole resolved "
        "configuration."
    )
    return f'<section id="settings"><h2>Settings</h2><p class="note">{note}</p>{"".join(blocks)}</section>'
