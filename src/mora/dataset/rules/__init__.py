"""Rules: objectives that a function scores exactly on any text, with no model and no world (``objectives=rules``)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mora.dataset.true_scores import Floats
from mora.errors import InputError
from mora.types import Row

Rule = Callable[..., float]
REFERENCE = "reference"  # the argument of a rule that compares an answer with the dataset's own


class Rules:
    """True scores by rules: one function per objective, ``rule(prompt, response) -> float`` within 0 and 1, 1 is best.

    A rule with an argument ``reference`` is handed the dataset's answer to the prompt (the first supervised one).  Such
    a rule scores answers to prompts of the dataset alone, and labels no pairs.  ``references`` maps these prompts to
    their answers.
    """

    name = "rules"

    def __init__(self, rules: Mapping[str, Rule], references: Mapping[str, str] | None = None) -> None:
        self.rules, self.references = dict(rules), references
        self.objectives = tuple(self.rules)
        self.floor = (0.0,) * len(self.objectives)
        self._compares = {name: _takes_reference(rule) for name, rule in self.rules.items()}

    @property
    def needs_references(self) -> bool:
        """Whether a rule compares an answer with the dataset's own."""
        return any(self._compares.values())

    def with_references(self, rows: Iterable[Row]) -> Rules:
        """The same rules, comparing with the answers of supervised ``rows``, which are read where a rule does."""
        if not self.needs_references:
            return self
        references: dict[str, str] = {}
        for row in rows:
            references.setdefault(row.prompt, row.responses[0])
        return Rules(self.rules, references)

    def check(self, prompts: Iterable[Row]) -> None:
        """Score an answer to the first prompt, and where answers are compared the reference of each with itself.

        Raises InputError as :meth:`gold` does, before anything is trained.
        """
        for row in prompts:
            self.gold([row.prompt], [(self.references or {}).get(row.prompt, "An answer.")])
            if not self.needs_references:
                return

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None = None) -> Floats:
        """True scores (B, M); an answer that was cut off is scored as it stands.

        Raises InputError for a rule that fails on an answer, or whose score is not within 0 and 1.
        """
        scores = [
            [self._score(name, prompt, response) for name in self.objectives]
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        return np.asarray(scores, dtype=np.float64).reshape(len(scores), len(self.objectives))

    def labelled(self, row: Row) -> Row:
        """A pair with a label by each rule: 1 where the second answer scores higher, 0 where lower, None for a tie.

        What the source says of these objectives is left out.
        """
        found: dict[str, float | None] = {name: v for name, v in row.labels.items() if name not in self.rules}
        for name in self.objectives:
            if not self._compares[name]:
                first, second = (self._score(name, row.prompt, response) for response in row.responses)
                found[name] = None if first == second else float(second > first)
        ratings = {name: rated for name, rated in row.ratings.items() if name not in self.rules}
        strengths = {name: strength for name, strength in row.strengths.items() if name not in self.rules}
        return replace(row, labels=found, ratings=ratings, strengths=strengths)

    def _score(self, name: str, prompt: str, response: str) -> float:
        rule, more = self.rules[name], {}
        if self._compares[name]:
            if self.references is None or prompt not in self.references:
                raise InputError(
                    f"objectives.rules.{name}: compares an answer with the dataset's own, and the dataset has none to "
                    f"the prompt {_shown(prompt)}; use a dataset with an answer to each prompt"
                )
            more = {REFERENCE: self.references[prompt]}
        try:
            score = float(rule(prompt, response, **more))
        except InputError:
            raise
        except Exception as error:  # a function outside mora
            raise InputError(
                f"objectives.rules.{name}: {type(error).__name__} ({error}) on the answer {_shown(response)}; correct "
                "the rule"
            ) from error
        if not 0 <= score <= 1 or math.isnan(score):
            raise InputError(
                f"objectives.rules.{name}: scored {score:g} for the answer {_shown(response)}; a rule must give a "
                "number from 0 (worst) to 1 (best)"
            )
        return score


def _takes_reference(rule: Rule) -> bool:
    try:
        return REFERENCE in inspect.signature(rule).parameters
    except ValueError:  # of a function in C
        return False


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
