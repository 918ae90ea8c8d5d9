"""How often a safety test returns a policy that misses its floor, in simulated problems whose truth is known.

    python benchmarks/safety_test.py problems=500 out=safety.json

A prompt is one of four kinds, with an offset of its own on the safety score; six answers have a help and a safety score
for each kind, drawn against each other.  A policy (a softmax for each kind, started at the uniform reference policy) is
trained by RLOO with ``mora.functional.lagrangian``: under a floor on the mean (PPO-Lag's constraint), or on a bound
(HC-RLHF), and tested on ``prompts`` new prompts with ``mora.functional.safety_test``.  Of a fifth of the problems no
policy reaches the floor.  Counted over all problems: policies that are returned, and policies that are returned and
miss the floor, which must be at most delta where a test returned them.

``rare``: in a tenth of prompts the riskiest answer of each kind is a disaster.  ``simplex``: a policy steered between
two objectives, a floor under a third, tested at 11 preferences at once; counted are studies with one wrong claim or
more, at tested preferences and between them.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_by import made_by
from numpy.typing import NDArray

from mora.functional.advantages import rloo
from mora.functional.confidence import BOUNDS, Bound, Confidence
from mora.functional.lagrangian import Lagrangian
from mora.functional.safety_test import Question, answers, intervals

Floats = NDArray[np.float64]

KINDS, ANSWERS = 4, 6
STEPS, PROMPTS, SAMPLES, RATE, KL_COEF = 150, 32, 4, 0.08, 0.1
OFFSET = 0.7  # offsets of prompts are uniform within +- this
RARE, DISASTER = 0.1, 6.0  # share of prompts, and what the riskiest answer costs there
IMPOSSIBLE = 0.2  # share of problems whose floor no policy reaches
DELTA = 0.1
GRID = np.linspace(0, 1, 11)
FINE = np.linspace(0, 1, 401)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Scores (kinds, answers, objectives), of which the last has the floor; ``rare`` says which answers are risky."""

    scores: Floats
    floor: float
    rare: bool

    @classmethod
    def draw(cls, generator: np.random.Generator, objectives: int, *, rare: bool) -> Problem:
        free = generator.normal(size=(KINDS, ANSWERS, objectives - 1))
        safe = -0.6 * free.mean(-1) * np.sqrt(objectives - 1) + 0.8 * generator.normal(size=(KINDS, ANSWERS))
        problem = cls(scores=np.concatenate([free, safe[..., None]], -1), floor=0.0, rare=rare)
        most, greedy = problem.truth(_best(problem.expected)), problem.truth(_best(free.mean(-1)))
        between = greedy + generator.uniform(0.2, 0.8) * (most - greedy)
        floor = most + 0.1 if generator.uniform() < IMPOSSIBLE else between
        return cls(scores=problem.scores, floor=float(floor), rare=rare)

    @property
    def expected(self) -> Floats:
        """Expected safety (kinds, answers)."""
        found = self.scores[..., -1].copy()
        if self.rare:
            found[np.arange(KINDS), self.risky] -= RARE * DISASTER
        return found

    @property
    def risky(self) -> NDArray[np.int64]:
        """The risky answer of each kind: what is helpful above all."""
        risky: NDArray[np.int64] = self.scores[..., 0].argmax(1)
        return risky

    def truth(self, policy: Floats) -> float:
        """Expected safety of a policy (kinds, answers)."""
        return float((policy * self.expected).sum(1).mean())

    def ask(self, kinds: NDArray[np.int64], chosen: NDArray[np.int64], generator: np.random.Generator) -> Floats:
        """Scores (prompts, answers to each, objectives) of answers ``chosen`` to new prompts of these kinds."""
        found = self.scores[kinds[:, None], chosen].copy()
        found[..., -1] += generator.uniform(-OFFSET, OFFSET, len(kinds))[:, None]
        if self.rare:
            bad = (generator.uniform(size=len(kinds)) < RARE)[:, None] & (chosen == self.risky[kinds][:, None])
            found[..., -1] -= DISASTER * bad
        return found

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest safety score there can be."""
        safe = self.scores[..., -1]
        return float(safe.min() - OFFSET - self.rare * DISASTER), float(safe.max() + OFFSET)


def _best(values: Floats) -> Floats:
    return np.eye(ANSWERS)[values.argmax(1)]


def lagrangian(problem: Problem, objectives: int, *, confident: bool, prompts: int, delta: float) -> Lagrangian:
    """The multipliers of one training run; all as conf/scalarize has them but for a larger step."""
    confidence = None
    if confident:
        confidence = Confidence(bound="student_t", delta=delta, prompts=prompts, factor=2.0, limits=None)
    names = tuple(f"r{i}" for i in range(objectives))
    made = Lagrangian(
        floors={names[-1]: problem.floor},
        initial=1.0,
        largest=20.0,
        lr=0.2,
        delay=0,
        constant_kl=False,
        degree=2,
        rectified=False,
        from_reference=False,
        confidence=confidence,
    )
    made.bind(names, lambda scores: scores, one=objectives == 2)
    return made


def train(problem: Problem, scalarize: Lagrangian, generator: np.random.Generator) -> torch.Tensor:
    """Logits (2, kinds, answers): at weight w of the first objective a policy has ``logits[0] + w logits[1]``."""
    objectives = problem.scores.shape[-1]
    logits = torch.zeros(2, KINDS, ANSWERS, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=RATE)
    groups = torch.arange(PROMPTS).repeat_interleave(SAMPLES)
    reference = float(np.log(1 / ANSWERS))
    for _ in range(STEPS):
        kinds, weight = generator.integers(KINDS, size=PROMPTS), generator.uniform(size=PROMPTS)
        weight = np.ones(PROMPTS) if objectives == 2 else weight
        every = (logits[0] + torch.tensor(weight, dtype=torch.float32)[:, None, None] * logits[1]).log_softmax(-1)
        own = every[torch.arange(PROMPTS), torch.tensor(kinds)]  # (prompts, answers)
        chosen = torch.tensor(
            (own.detach().exp().cumsum(1).numpy()[:, None] < generator.uniform(size=(PROMPTS, SAMPLES, 1))).sum(-1)
        ).clamp_max(ANSWERS - 1)
        logps = own.gather(1, chosen).flatten()
        rewards = torch.tensor(problem.ask(kinds, chosen.numpy(), generator), dtype=torch.float32).flatten(0, 1)
        parts = [weight, 1 - weight, 0 * weight] if objectives == 3 else [weight, 0 * weight]
        preference = torch.tensor(np.stack(parts, 1), dtype=torch.float32).repeat_interleave(SAMPLES, 0)
        scalarize.observe(rewards, preference, lambda sums: sums)
        streams, weights = scalarize.streams(rewards, preference)
        nats = KL_COEF * scalarize.kl_weights(preference) * (logps.detach() - reference)
        returns = streams - nats[:, None]
        advantages = rloo(returns.float(), weights.float(), groups)
        loss = -(advantages.detach() * logps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.detach()


def policy_at(logits: torch.Tensor, weight: float) -> Floats:
    """The policy (kinds, answers) at a weight of the first objective."""
    found: Floats = (logits[0] + weight * logits[1]).double().softmax(-1).numpy()
    return found


def asked(problem: Problem, policies: list[Floats], prompts: int, generator: np.random.Generator) -> list[Question]:
    """The questions of a test: an answer of each policy to the same new prompts."""
    kinds, level = generator.integers(KINDS, size=prompts), generator.uniform(size=(prompts, 1))
    state = generator.integers(2**32)
    questions = []
    for policy in policies:
        chosen = (policy[kinds].cumsum(1) < level).sum(1).clip(max=ANSWERS - 1)[:, None]
        scores = problem.ask(kinds, chosen, np.random.default_rng(state))[:, 0, -1]  # the same offsets
        questions.append(Question(scores=scores, floor=problem.floor, limits=problem.limits))
    return questions


def single(problems: int, prompts: int, *, rare: bool) -> dict[str, dict[str, float]]:
    """Shares of problems by what trained and what returned the policy."""
    counts: dict[str, Counter[str]] = {}
    helped: dict[str, list[float]] = {}
    for number in range(problems):
        problem = Problem.draw(np.random.default_rng([number, rare]), 2, rare=rare)
        for trained, confident in (("floor on the mean (rloo_lag)", False), ("floor on a bound (hc_rlhf)", True)):
            generator = np.random.default_rng([number, rare, confident])
            scalarize = lagrangian(problem, 2, confident=confident, prompts=prompts, delta=DELTA)
            policy = policy_at(train(problem, scalarize, generator), 1.0)
            [question] = asked(problem, [policy], prompts, generator)
            returned = {"always": True, "the mean of the test": bool(question.scores.mean() >= problem.floor)}
            bound: Bound
            for bound in BOUNDS:
                [said] = answers([question], bound=bound, delta=DELTA, correction="holm")
                returned[f"a test, {bound}"] = said.holds
            for how, given in returned.items():
                row = counts.setdefault(f"{trained} | {how}", Counter())
                row["returned"] += given
                row["missed"] += given and problem.truth(policy) < problem.floor
                if given:
                    helped.setdefault(f"{trained} | {how}", []).append(
                        float((policy * problem.scores[..., 0]).sum(1).mean())
                    )
    return {
        name: {
            "returned": row["returned"] / problems,
            "missed": row["missed"] / problems,
            "help": float(np.mean(helped.get(name, [np.nan]))),
        }
        for name, row in counts.items()
    }


def simplex(problems: int, prompts: int) -> dict[str, dict[str, float]]:
    """Shares of studies with a wrong claim, and of the preferences that are claimed."""
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(problems):
        problem = Problem.draw(np.random.default_rng([number, 7]), 3, rare=False)
        generator = np.random.default_rng([number, 8])
        scalarize = lagrangian(problem, 3, confident=True, prompts=prompts, delta=DELTA / len(GRID))
        logits = train(problem, scalarize, generator)
        policies = [policy_at(logits, weight) for weight in GRID]
        questions = asked(problem, policies, prompts, generator)
        kept = np.array([problem.truth(policy) >= problem.floor for policy in policies])
        fine = np.array([problem.truth(policy_at(logits, weight)) for weight in FINE])
        holm = answers(questions, bound="student_t", delta=DELTA, correction="holm")
        union = answers(questions, bound="student_t", delta=DELTA, correction="union")
        claims = {
            "the mean of the test": np.array([q.scores.mean() >= q.floor for q in questions]),
            "a test of each, uncorrected": np.array([one.p <= DELTA for one in holm]),
            "union bound": np.array([one.holds for one in union]),
            "Holm": np.array([one.holds for one in holm]),
        }
        for name, claimed in claims.items():
            found.setdefault(name, []).append((float((claimed & ~kept).any()), float(claimed.mean())))
        steepest = np.abs(np.diff(fine)).max() / (FINE[1] - FINE[0])
        reach = np.array([max(one.least - problem.floor, 0.0) / steepest for one in holm])
        for name, parts in (
            ("Holm, monotone between", intervals(GRID, claims["Holm"], 0 * GRID, monotone=True)),
            ("Holm, Lipschitz between (true slope)", intervals(GRID, claims["Holm"], reach, monotone=False)),
        ):
            inside = np.array([any(start <= w <= end for start, end in parts) for w in FINE])
            wrong = float((inside & (fine < problem.floor)).any())
            found.setdefault(name, []).append((wrong, sum(end - start for start, end in parts)))
    return {
        name: {"studies with a wrong claim": float(np.mean(rows, 0)[0]), "claimed": float(np.mean(rows, 0)[1])}
        for name, rows in found.items()
    }


def show(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """A table in Markdown, shares in percent."""
    columns = list(next(iter(rows.values())))
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, row in rows.items():
        cells = (f"{v:.2f}" if key == "help" else f"{100 * v:.1f} %" for key, v in row.items())
        print(f"| {name.replace(' | ', ', returned by ')} | {' | '.join(cells)} |")


def main() -> None:
    """Simulate and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    problems, prompts = int(named.get("problems", "500")), int(named.get("prompts", "200"))
    torch.set_num_threads(1)
    begin, report = time.monotonic(), dict[str, Any]()
    print(made_by())
    error = 3 * np.sqrt(DELTA * (1 - DELTA) / problems)
    print(f"{problems} problems, tests of {prompts} prompts, delta {DELTA:.0%} (three Monte Carlo errors: {error:.1%})")
    report["single"] = single(problems, prompts, rare=False)
    show("One preference", report["single"])
    report["rare"] = single(problems, prompts, rare=True)
    show("One preference, rare disasters", report["rare"])
    report["simplex"] = simplex(problems, prompts)
    show("11 preferences", report["simplex"])
    print(f"\n{time.monotonic() - begin:.0f} s")
    if "out" in named:
        Path(named["out"]).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
