"""A reward model on a benchmark in sections: which of the given answers it scores highest, subset by subset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mora import bounds
from mora.bounds import Inside, Positive, Share
from mora.csv_files import write_csv
from mora.dataset.encode import beyond
from mora.errors import InputError
from mora.evaluation import Run
from mora.evaluation.contests import Contest, read_contests
from mora.files import record_json
from mora.functional import risk
from mora.functional.preference import checked
from mora.functional.sections import coefficients, stratified_stderr, top_credit
from mora.functional.stats import share_within
from mora.records.read import record
from mora.records.sections import Benchmark
from mora.reward.scorer import ModelScorer, Scorer
from mora.types import content_id

Floats = NDArray[np.float64]
ScoreTexts = Callable[[Sequence[str], Sequence[str]], Floats]  # prompts and answers (B) to scores (B,)
TABLE, SUBSETS, ROWS = "sections.json", "sections.csv", "section_rows.csv"


@dataclass(kw_only=True)
class Sections:
    """``evaluation=sections``; the fields are the keys of ``conf/evaluation/sections.yaml``."""

    path: str
    objective: str | None
    preference: list[Share] | None
    level: Inside
    sections: dict[str, list[str]] | None
    weights: dict[str, Positive] | None

    def __post_init__(self) -> None:
        if self.objective is not None and self.preference is not None:
            raise InputError("evaluation.objective and evaluation.preference: give one of the two, the other is null")
        for name, members in (self.sections or {}).items():
            if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
                raise InputError(f"evaluation.sections.{name}={members}: must be a list of names of subsets")
        named = Counter(member for members in (self.sections or {}).values() for member in set(members))
        twice = sorted(name for name, count in named.items() if count > 1)
        if twice:
            raise InputError(f"evaluation.sections: {', '.join(twice)} stands in two sections; leave it in one")
        for name, weight in (self.weights or {}).items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)):
                raise InputError(f"evaluation.weights.{name}={weight}: must be a number")
        bounds.check(self, "evaluation")

    def measure_run(self, run: Run) -> str:
        """Write ``sections.json``, ``sections.csv`` and ``section_rows.csv`` of a reward model."""
        table, subsets, rows = self.measure(run.reward())
        near, said = run.near_training([contest.prompt for contest in read_contests(self.path)])
        table |= {"near_training": near, "notes": [*table["notes"], *said]}
        write(run.folder.tables, {"run": run.folder.id} | table, subsets, rows)
        return "sections"

    def measure(self, scorer: Scorer) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """The table ``sections.json``, the rows of ``sections.csv`` (subsets) and of ``section_rows.csv``.

        Raises InputError for bad rows, with file and line, and where it is not said who judges.
        """
        judge, score = self._judge(scorer)
        contests = read_contests(self.path)
        subsets = [contest.subset for contest in contests]
        sections, odd, notes = self._arranged(subsets)
        scores = _scores(score, contests)
        prompts = [content_id(contest.prompt) for contest in contests]
        credit = np.array([top_credit(*both) for both in scores])  # (n, 2): strict, shared
        of_section = {name: coefficients(subsets, own, self.weights or {}) for name, own in sections.items()}

        def entry(coefficient: Floats) -> dict[str, Any]:
            clusters = len({prompt for prompt, counts in zip(prompts, coefficient > 0, strict=True) if counts})
            found: dict[str, Any] = {}
            for k, key in enumerate(("strict", "shared")):
                value = float(coefficient @ credit[:, k])
                error = stratified_stderr(coefficient, credit[:, k], subsets, prompts)
                interval = share_within(value, error, clusters, self.level)
                found |= {key: value, f"{key}_stderr": error, f"{key}_interval": interval}
            return found | {"n": int((coefficient > 0).sum())}

        cut, said = _cut(scorer, contests)
        table: dict[str, Any] = {
            "path": str(self.path),
            "judge": judge,
            "rows": len(contests),
            "sections": [{"section": name, **entry(own)} for name, own in of_section.items()],
            "final": entry(np.mean(list(of_section.values()), axis=0)),
            **odd,
            "cut": cut,
            "level": self.level,
            "notes": notes + _measure(contests) + said,
        }
        counts = Counter(subsets)
        lines = [
            {"section": section, "subset": name, "weight": (self.weights or {}).get(name, counts[name])}
            | entry(coefficients(subsets, [name], {}))
            for section, members in sections.items()
            for name in members
            if name in counts
        ]
        table["subsets"] = lines
        return table, lines, [_line(*row) for row in zip(contests, scores, credit.tolist(), strict=True)]

    def _judge(self, scorer: Scorer) -> tuple[dict[str, Any], ScoreTexts]:
        """Who judges, and how: by the raw scores of one objective, or by a utility of standardized scores."""
        names = list(scorer.objectives)
        if self.preference is not None:
            weights = checked(self.preference, names, "evaluation.preference")
            if len(weights) != 1:
                raise InputError(f"evaluation.preference={self.preference}: give one weight per objective")
            facts = {"preference": dict(zip(names, weights[0].tolist(), strict=True))}
            return facts, lambda prompts, texts: _numbers(risk.mean(scorer.score(prompts, texts)).cpu() @ weights[0])
        if self.objective is None and len(names) > 1:
            raise InputError(
                f"evaluation.objective=null: the reward has {', '.join(names)}; name the one that judges, or give "
                "evaluation.preference=[..], a weight for each"
            )
        chosen = names[0] if self.objective is None else self.objective
        if chosen not in names:
            raise InputError(f"evaluation.objective={chosen}: the reward has {', '.join(names)}")
        column = names.index(chosen)
        return {"objective": chosen}, lambda prompts, texts: _numbers(risk.mean(scorer.raw(prompts, texts))[:, column])

    def _arranged(self, subsets: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, list[str]], list[str]]:
        """The sections that have rows; which were ``left_out`` and which subsets are ``unmapped``; all this in words.

        A subset that no section names is a section of its own.
        """
        present, given = list(dict.fromkeys(subsets)), self.sections or {}
        found = {name: list(dict.fromkeys(own)) for name, own in given.items() if set(own) & set(present)}
        mapped = {member for members in given.values() for member in members}
        odd = {
            "left_out": [name for name in given if name not in found],
            "unmapped": [name for name in present if name not in mapped],
        }
        notes = [f"section {name} has no row and does not count" for name in odd["left_out"]]
        for name, members in found.items():
            absent = [member for member in members if member not in present]
            notes += [f"section {name} lacks {', '.join(absent)}"] if absent else []
        if given and odd["unmapped"]:
            notes.append(f"in no section, so each one of its own: {', '.join(odd['unmapped'])}")
        clash = [name for name in odd["unmapped"] if name in found]
        if clash:
            raise InputError(
                f"evaluation.path={self.path}: the subset {clash[0]} stands in no section and is called as one is; "
                "name it in evaluation.sections"
            )
        return found | {name: [name] for name in odd["unmapped"]}, odd, notes


def write(
    tables: Path, table: Mapping[str, Any], subsets: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write ``sections.json``, ``sections.csv`` and ``section_rows.csv`` below ``tables``, each atomically."""
    record(table, Benchmark, str(tables / TABLE))  # as its readers will take it
    write_csv(tables / SUBSETS, [_flat(row) for row in subsets])
    write_csv(tables / ROWS, rows)
    record_json(tables / TABLE, table)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A subset as a row of a CSV: of an interval its two ends."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        name, ends = key.removesuffix("_interval"), value or (None, None)
        found |= {key: value} if name == key else {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return found


def _scores(score: ScoreTexts, contests: Sequence[Contest]) -> list[tuple[list[float], list[float]]]:
    """Scores of right and of wrong answers of each row; a text is scored once, so equal answers score alike."""
    texts = [(one.prompt, text) for one in contests for text in (*one.chosen, *one.rejected)]
    distinct = list(dict.fromkeys(texts))
    values = score([prompt for prompt, _ in distinct], [text for _, text in distinct])
    known = dict(zip(distinct, values.tolist(), strict=True))
    return [
        ([known[one.prompt, text] for text in one.chosen], [known[one.prompt, text] for text in one.rejected])
        for one in contests
    ]


def _measure(contests: Sequence[Contest]) -> list[str]:
    """What rows with several right answers measure, in words."""
    several = [one for one in contests if len(one.chosen) > 1]
    if not several:
        return []
    guessed = np.mean([len(one.chosen) / (len(one.chosen) + len(one.rejected)) for one in several])
    return [
        f"{len(several)} of {len(contests)} rows have several right answers: such a row asks whether the highest score "
        f"of all its answers is a right one's (guessing reaches {guessed:.2f}), and compares no pairs"
    ]


def _numbers(values: Tensor) -> Floats:
    numbers: Floats = values.double().cpu().numpy()
    return numbers


def _cut(scorer: Scorer, contests: Sequence[Contest]) -> tuple[dict[str, int] | None, list[str]]:
    """How many texts were longer than the model takes, and so judged in part, and in words; None for rules."""
    if not isinstance(scorer, ModelScorer):
        return None, []
    answers = [text for one in contests for text in (*one.chosen, *one.rejected)]
    return beyond(scorer.encoder, [one.prompt for one in contests], answers)


def _line(contest: Contest, scores: tuple[list[float], list[float]], credit: Sequence[float]) -> dict[str, Any]:
    chosen, rejected = scores
    return {
        "where": contest.where,
        "id": contest.id,
        "subset": contest.subset,
        "best_chosen": max(chosen),
        "best_rejected": max(rejected),
        "strict": credit[0],
        "shared": credit[1],
    }
