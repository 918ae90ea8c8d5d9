"""What there is to say of pairs and of answers, as one table of plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from mora.dataset.repeats import Repeats
from mora.functional.correlation import spearman
from mora.task import measures
from mora.task.parsing import Answer, Pair
from mora.types import content_id

NOTHING = float("nan")


def of_pairs(pairs: Sequence[Pair], examples: int, bins: int) -> dict[str, Any]:
    """The statistics of pairs; ``examples`` per objective, chosen by a hash of their texts."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair.labels))
    decided = [np.array([_side(pair.labels.get(name)) for pair in pairs]) for name in names]
    texts = [text for pair in pairs for text in pair.responses]
    return {
        "form": "pairs",
        "rows": len(pairs),
        "prompts": _prompts(pair.prompt for pair in pairs),
        "objectives": {name: _pair_objective(pairs, name, bins) for name in names},
        "agreement": {"objectives": names, **measures.label_matrix(decided)},
        "lengths": _lengths({"prompt": [pair.prompt for pair in pairs], "response": texts}, bins),
        "repeats": _pair_repeats(pairs),
        "examples": {
            name: [pair.fields(soft=True) for pair in _chosen(pairs, name, examples)] for name in names or ("",)
        },
    }


def of_answers(answers: Sequence[Answer], examples: int, bins: int) -> dict[str, Any]:
    """The statistics of answers, rated (``scored``) or not (``supervised``)."""
    names = list(dict.fromkeys(name for answer in answers for name in answer.ratings))
    means = [np.array([_mean(answer, name) for answer in answers]) for name in names]
    kinds = {"prompt": [answer.prompt for answer in answers], "response": [answer.response for answer in answers]}
    return {
        "form": "scored" if names else "supervised",
        "rows": len(answers),
        "prompts": _prompts(kinds["prompt"]),
        "objectives": {name: _answer_objective(answers, name, bins) for name in names},
        "agreement": {"objectives": names, **measures.rating_matrix(means)},
        "lengths": _lengths(kinds, bins),
        "repeats": _answer_repeats(answers),
        "examples": {name: [_shown(answer) for answer in _chosen(answers, name, examples)] for name in names or ("",)},
    }


def _side(label: float | None) -> float:
    """0 or 1 for the answer that is the likelier one; NaN where neither is."""
    return NOTHING if label is None or label == 0.5 else float(label > 0.5)


def _mean(answer: Answer, name: str) -> float:
    values = answer.ratings.get(name, ())
    return fmean(values) if values else NOTHING


def _prompts(prompts: Iterable[str]) -> dict[str, Any]:
    counts = Counter(prompts)
    return {"distinct": len(counts), "rows_per_prompt": measures.summary(list(counts.values()))}


def _pair_objective(pairs: Sequence[Pair], name: str, bins: int) -> dict[str, Any]:
    labels = [pair.labels.get(name) for pair in pairs]
    sides = [_side(label) for label in labels]
    known = [label for label in labels if label is not None]
    gaps = [len(pair.responses[1]) - len(pair.responses[0]) for pair in pairs]
    longer = [(gap > 0) == (side == 1) for gap, side in zip(gaps, sides, strict=True) if gap and side == side]
    rated = [values for pair in pairs for values in pair.ratings.get(name, ()) if values]
    strengths = [pair.strengths[name] for pair in pairs if name in pair.strengths]
    return {
        "labelled": len(known),
        "unlabelled": len(labels) - len(known),
        "ties": known.count(0.5),
        "soft": sum(label not in (0.0, 0.5, 1.0) for label in known),
        "first_better": sides.count(0.0),
        "second_better": sides.count(1.0),
        "longer_better": {"n": len(longer), "share": fmean(longer) if longer else None},
        "labels": measures.histogram(known, bins),
        "strengths": measures.described(strengths, bins),
        **_ratings(rated, bins),
    }


def _answer_objective(answers: Sequence[Answer], name: str, bins: int) -> dict[str, Any]:
    rated = [(answer, answer.ratings[name]) for answer in answers if answer.ratings.get(name)]
    lengths = np.array([len(answer.response) for answer, _ in rated], dtype=float)
    means = np.array([fmean(values) for _, values in rated])
    return {
        "rated": len(rated),
        "unrated": len(answers) - len(rated),
        "means": measures.summary(means.tolist()),
        "length_correlation": spearman(lengths, means),
        **_ratings([values for _, values in rated], bins),
    }


def _ratings(rated: Sequence[Sequence[float]], bins: int) -> dict[str, Any]:
    """Single ratings, how many there are of an answer, and how far annotators lie apart."""
    several = [pstdev(values) for values in rated if len(values) > 1]
    return {
        "ratings": measures.described([value for values in rated for value in values], bins),
        "annotators": measures.summary([len(values) for values in rated]),
        "disagreement": measures.summary(several),
    }


def _lengths(texts: dict[str, list[str]], bins: int) -> dict[str, Any]:
    table = {}
    for name, of in texts.items():
        table[f"{name}_characters"] = measures.described([len(text) for text in of], bins)
        table[f"{name}_words"] = measures.described([len(text.split()) for text in of], bins)
    return table


def _pair_repeats(pairs: Sequence[Pair]) -> dict[str, int]:
    repeats = Repeats()
    for pair in pairs:
        repeats.add(pair)
    return {
        "equal_rows": len(pairs) - len({repr(pair) for pair in pairs}),
        "repeated_pairs": repeats.repeated,
        "contradictory_pairs": repeats.contradictory,
        "identical_responses": sum(pair.responses[0] == pair.responses[1] for pair in pairs),
    }


def _answer_repeats(answers: Sequence[Answer]) -> dict[str, int]:
    return {
        "equal_rows": len(answers) - len({repr(answer) for answer in answers}),
        "repeated_answers": len(answers) - len({(answer.prompt, answer.response) for answer in answers}),
    }


def _chosen(rows: Sequence[Any], name: str, most: int) -> list[Any]:
    """At most ``most`` rows with something on an objective, whatever their order in the file."""

    def place(row: Any) -> tuple[int, str]:
        texts = row.responses if isinstance(row, Pair) else (row.response,)
        return content_id("example", name, row.prompt, *texts), repr(row)

    told = [row for row in rows if not name or row.ratings.get(name) or _labelled(row, name)]
    return sorted(told, key=place)[:most]


def _labelled(row: Any, name: str) -> bool:
    return isinstance(row, Pair) and row.labels.get(name) is not None


def _shown(answer: Answer) -> dict[str, Any]:
    rated = {name: list(values) for name, values in answer.ratings.items()}
    return {"prompt": answer.prompt, "response": answer.response, **rated}
