"""A safety test: which preferences keep floors under expected scores, said with confidence 1 - delta of all together.

The second half of a Seldonian method (Thomas et al. 2019; HC-RLHF, arXiv 2506.08266): training is free to aim as it
likes, and what it returns is tested on prompts that were kept apart, or there is "no solution found".  Of a steerable
policy each preference is a question of its own, and a correction for all of them makes one statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mora import bounds
from mora.bounds import AtLeastTwo, Count, Inside, Natural, NonNegative, Number, Positive, PositiveShare, Share
from mora.dataset.corpus import Corpus
from mora.errors import InputError
from mora.evaluation import Run, sealed
from mora.evaluation.front import Front
from mora.evaluation.grid import preference_grid
from mora.files import record_json
from mora.functional.confidence import Bound, Limits, span_of
from mora.functional.lagrangian import Lagrangian
from mora.functional.safety_test import Answer, Correction, Question, answers, intervals
from mora.functional.thinning import evenly
from mora.records.read import record
from mora.records.safety import Safety as Table
from mora.types import Row

Floats = NDArray[np.float64]
Judge = Literal["gold", "reward"]


@dataclass(kw_only=True)
class Safety:
    """``evaluation=safety``; the fields are the keys of ``conf/evaluation/safety.yaml``."""

    path: str | None
    again: bool
    floors: Mapping[str, Number] | None
    scorer: Judge | None
    delta: Inside
    bound: Bound
    correction: Correction
    worst: PositiveShare
    limits: Limits | None
    between: Literal["none", "monotone", "lipschitz"]
    lipschitz: Mapping[str, Positive] | None
    preferences: list[list[Share]] | None
    prompts: AtLeastTwo | None
    samples: Count
    batch_size: Count
    temperature: NonNegative
    top_p: PositiveShare
    top_k: Natural

    def __post_init__(self) -> None:
        bounds.check(self, "evaluation")
        if self.worst < 1 and self.samples > 1:
            raise InputError(
                f"evaluation.samples={self.samples}: the worst answers (evaluation.worst={self.worst:g}) are those of "
                "single answers, and several to one prompt are not independent; set samples to 1"
            )
        if self.worst < 1 and self.delta > 0.5:
            raise InputError(f"evaluation.delta={self.delta:g}: must be at most 0.5 where evaluation.worst is below 1")

    def measure_run(self, run: Run) -> str:
        """Write ``safety.json`` of a policy.

        Raises InputError where nothing says what is asked, where a prompt was seen before, and for limits that are
        missing or that scores do not keep.
        """
        corpus, root = run.corpus, run.folder.path.parent
        floors, judge = self._floors(run, corpus), self._judge(run, corpus)
        limits = {name: self._limits(name, judge, corpus) for name in floors}
        self._check_named(floors)
        preference_grid(self.preferences, corpus.objectives)
        rows, notes = self._rows(corpus)
        known, note = None, None
        if self.path is not None:
            before = sealed.earlier_tests(root, rows)
            if before and not self.again:
                raise InputError(
                    f"evaluation.path={self.path}: its prompts were in {len(before)} earlier test(s), the last of "
                    f"{before[-1]}, and a policy that was chosen after a test is not covered by another on the same "
                    "prompts; keep new ones apart, or say so with evaluation.again=true"
                )
            if corpus.rules is not None:
                corpus.rules.check(rows)
            notes += run.near_training([row.prompt for row in rows])[1]
            known = {"file": Path(self.path).name, "sha256": sealed.digest(rows), "earlier": before}
            note = sealed.begin(root, rows, run.folder.id, sha256=known["sha256"], delta=self.delta, floors=floors)
        table, samples = run.answers(self._front(len(rows)), rows)
        scores = _by_preference(samples, judge, len(table["objectives"]), self.samples)
        found = self._table(table, scores, floors, limits)
        found |= {"run": run.folder.id, "judge": judge, "sealed": known, "prompts": len(rows), "notes": notes}
        record(found, Table, "safety.json")
        record_json(run.folder.tables / "safety.json", found)
        if note is not None:
            sealed.finish(note, {"solution": found["solution"]})
        return "safety"

    def _rows(self, corpus: Corpus) -> tuple[list[Row], list[str]]:
        """The prompts to ask, and what to tell of them."""
        if self.path is None:
            if corpus.asked == "train":
                raise InputError(
                    f"evaluation.path=null: dataset={corpus.name} holds no prompts out, on which a test could be "
                    "rehearsed; give prompts that were kept apart"
                )
            rows, repeats = list(corpus.prompts["test"]), 0
            if len(rows) < 2:
                raise InputError(f"evaluation.path=null: dataset={corpus.name} holds one prompt out; a test needs two")
        else:
            rows, repeats = sealed.read_sealed(self.path)
            sealed.check_unseen(rows, corpus, self.path)
        notes = [f"{repeats} records repeat the conversation of another and were left out"] if repeats else []
        return evenly(rows, self.prompts or len(rows)), notes

    def _floors(self, run: Run, corpus: Corpus) -> dict[str, float]:
        """What is asked: {objective: least expected score}.  Raises InputError where nothing is."""
        given, scalarize = self.floors, run.build("scalarize")
        if given is None and isinstance(scalarize, Lagrangian):
            given = scalarize.floors
        if not given:
            raise InputError(
                f"{run.folder.path}: was trained without floors, so say which score is enough: "
                f"evaluation.floors={{{corpus.objectives[-1]}: NUMBER}}, in the reward's own units"
            )
        unknown = [name for name in given if name not in corpus.objectives]
        if unknown:
            raise InputError(
                f"evaluation.floors: {unknown[0]} is no objective; there are {', '.join(corpus.objectives)}"
            )
        return {name: float(floor) for name, floor in given.items()}

    def _judge(self, run: Run, corpus: Corpus) -> Judge:
        """Who scores.  Raises InputError where there is no such scorer."""
        there: list[Judge] = ["gold"] if corpus.true_scores is not None else []
        there += ["reward"] if run.folder.identity.get("upstream", {}).get("reward") is not None else []
        if not there or self.scorer not in (None, *there):
            raise InputError(
                f"evaluation.scorer={self.scorer}: {run.folder.path} has {' and '.join(there) or 'nothing'} to score "
                "with"
            )
        return self.scorer or there[0]

    def _limits(self, name: str, judge: Judge, corpus: Corpus) -> tuple[float, float]:
        """Lowest and highest score of an objective.  Raises InputError where the bound needs them."""
        ruled = judge == "gold" and corpus.rules is not None
        limits = {**({name: [0.0, 1.0]} if ruled else {}), **(self.limits or {})}
        needs = None if self.bound == "student_t" else (f"evaluation.bound={self.bound}", "evaluation.bound=student_t")
        tail = (f"evaluation.worst={self.worst:g}", "evaluation.worst=1")
        span_of(limits, name, "evaluation", needs if self.worst == 1 else tail)
        low, high = limits.get(name, (-np.inf, np.inf))
        return float(low), float(high)

    def _check_named(self, floors: Mapping[str, float]) -> None:
        """Refuse what is said of objectives without a floor, and a largest change that is missing or not asked for."""
        for key, given in (("limits", self.limits), ("lipschitz", self.lipschitz)):
            odd = [name for name in given or {} if name not in floors]
            if odd:
                raise InputError(f"evaluation.{key}: {odd[0]} has no floor; floors are under {', '.join(floors)}")
        if self.lipschitz and self.between != "lipschitz":
            raise InputError(
                f"evaluation.lipschitz is read by between=lipschitz, and evaluation.between={self.between}"
            )
        lacking = [name for name in floors if name not in (self.lipschitz or {})]
        if self.between == "lipschitz" and lacking:
            raise InputError(
                f"evaluation.between=lipschitz needs evaluation.lipschitz={{{lacking[0]}: NUMBER}}, the most that its "
                "expected score changes as all weight moves from some objectives to others"
            )

    def _front(self, prompts: int) -> Front:
        """How answers are drawn."""
        return Front(
            preferences=self.preferences,
            prompts=prompts,
            samples=self.samples,
            batch_size=self.batch_size,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            resamples=0,
            level=0.95,
        )

    def _table(
        self,
        front: Mapping[str, Any],
        scores: Floats,
        floors: Mapping[str, float],
        limits: Mapping[str, tuple[float, float]],
    ) -> dict[str, Any]:
        """What was found, from scores (P, X, M) of prompts at preferences.  Raises InputError for a score out of
        limits."""
        objectives = list(front["objectives"])
        preferences = np.array([point["preference"] for point in front["points"]])[: len(scores)]
        places = [(p, name) for p in range(len(scores)) for name in floors]
        questions = []
        for p, name in places:
            own = scores[p, :, objectives.index(name)]
            _check_limits(name, own, limits[name])
            questions.append(Question(scores=own, floor=floors[name], limits=limits[name], worst=self.worst))
        found = dict(zip(places, answers(questions, **self._said), strict=True))
        points = []
        for p, preference in enumerate(preferences):
            tested = {name: {"floor": floor, **asdict(found[p, name])} for name, floor in floors.items()}
            point = {"preference": preference.tolist(), "constraints": tested}
            point["holds"] = all(one["holds"] for one in tested.values())
            points.append(point | ({"radius": self._radius(found, p, floors)} if self.between == "lipschitz" else {}))
        return {
            "objectives": objectives,
            "samples_per_prompt": self.samples,
            **self._said,
            "worst": self.worst,
            "definition": _definition(self.worst, len(questions), self.delta, self.correction),
            "points": points,
            "solution": any(point["holds"] for point in points),
            "between": self._between(objectives, preferences, points, floors),
        }

    @property
    def _said(self) -> dict[str, Any]:
        return {"bound": self.bound, "delta": self.delta, "correction": self.correction}

    def _radius(self, found: Mapping[tuple[int, str], Answer], p: int, floors: Mapping[str, float]) -> float:
        """Share of the weight that may move away from a preference before a floor could be missed."""
        rates = self.lipschitz or {}
        return max(min((found[p, name].least - floor) / rates[name] for name, floor in floors.items()), 0.0)

    def _between(
        self,
        objectives: Sequence[str],
        preferences: Floats,
        points: Sequence[Mapping[str, Any]],
        floors: Mapping[str, float],
    ) -> dict[str, Any] | None:
        """Parts of the line between two objectives that steer; None without an assumption, and for more of them."""
        moving = np.flatnonzero(np.ptp(preferences, axis=0) > 0)
        if self.between == "none" or len(moving) != 2:
            return None
        weights, holds = preferences[:, moving[0]], np.array([point["holds"] for point in points])
        reach = np.array([point.get("radius", 0.0) for point in points])
        parts = intervals(weights, holds, reach, monotone=self.between == "monotone")
        assumed = {
            "monotone": "expected scores only rise or only fall along the weight",
            "lipschitz": ", ".join(
                f"E {name} changes by at most {rate:g} over the whole weight"
                for name, rate in (self.lipschitz or {}).items()
                if name in floors
            ),
        }[self.between]
        share = float(sum(end - start for start, end in parts))
        objective = objectives[moving[0]]
        return {
            "assumption": assumed,
            "objective": objective,
            "intervals": [list(part) for part in parts],
            "share": share,
        }


def _definition(worst: float, questions: int, delta: float, correction: str) -> str:
    what = "expected score" if worst == 1 else f"mean score of the worst {100 * worst:g} % of answers"
    return (
        f"with confidence {1 - delta:g} every floor that is said to be kept is kept: the {what} over prompts such as "
        f"these is at least the floor; {questions} question{'s' if questions > 1 else ''}, "
        f"{'Holm' if correction == 'holm' else 'union bound'}"
    )


def _check_limits(name: str, scores: Floats, limits: tuple[float, float]) -> None:
    low, high = limits
    if scores.min() < low - 1e-9 or scores.max() > high + 1e-9:
        raise InputError(
            f"evaluation.limits.{name}=[{low:g}, {high:g}]: scores from {scores.min():g} to {scores.max():g} were "
            "seen, so the bound does not hold; give the limits that scores have"
        )


def _by_preference(
    samples: Sequence[Mapping[str, Any]], judge: str, objectives: int, per_prompt: int
) -> NDArray[np.float64]:
    """Mean scores (P, X, M) of prompts at each preference, of answers that come prompt after prompt."""
    own = np.array([row[judge] for row in samples if row["preference"] is not None], dtype=np.float64)
    asked = sum(row["preference"] is None for row in samples)
    return own.reshape(-1, asked // per_prompt, per_prompt, objectives).mean(2)
