"""Measurements of finished runs.  What they hand on is tables; nothing here draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mora.dataset.corpus import Corpus
    from mora.evaluation.front import Front
    from mora.model.policy import Policy
    from mora.reward.hub_scorer import HubScorer
    from mora.reward.scorer import ModelScorer, Scorer
    from mora.runtime.folder import RunFolder
    from mora.types import Row


class Run(Protocol):
    """A run whose model is trained, as an evaluation sees it.  Each method loads what it returns anew."""

    @property
    def folder(self) -> RunFolder:
        """Where it lies; tables go below ``folder.tables``."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings that it was trained with, by section."""

    @property
    def seed(self) -> int:
        """Seed of what the evaluation draws."""

    @property
    def corpus(self) -> Corpus:
        """The data that it was trained and is tested on."""

    def build(self, section: str) -> Any:
        """The object that a section of its configuration names, such as "risk"."""

    def policy(self) -> tuple[Policy, PreTrainedTokenizerBase]:
        """The policy and its tokenizer.  For evaluations that measure a policy."""

    def preferences(self, given: list[list[float]] | None, policy: Policy) -> list[list[float]] | None:
        """Those ``given``; else the one that it was trained at, where it is only one, and None where there are many."""

    def reward(self) -> ModelScorer | HubScorer:
        """The reward model.  For evaluations that measure a reward."""

    def front(self, front: Front) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The tables ``front.json`` and ``samples.jsonl`` of its policy: answers at every preference, with scores."""

    def answers(self, front: Front, prompts: Sequence[Row]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """As :meth:`front`, on these prompts, and with scores in the units that their scorers have of themselves."""

    def judges(self) -> dict[str, Scorer]:
        """What a policy is held against: "gold", the true scores, and "reward", the model that trained it.

        What trained it has the units of training.  Only for a dataset that is a world.
        """

    def table(self, name: str, keys: Sequence[str]) -> dict[str, Any]:
        """``tables/<name>.json``; measured now, with the defaults of evaluation=<name>, where it is not there.

        Raises InputError where it lacks one of ``keys``.
        """

    def check_units(self) -> None:
        """Raises InputError where the reward changed while it trained the policy: no optimum is of such a reward."""

    def near_training(self, prompts: list[str]) -> tuple[dict[str, Any] | None, list[str]]:
        """How many prompts of a benchmark are near one of training, as a table and in words; None: cannot be known."""


class Evaluation(Protocol):
    """One way to measure a run; the objects of ``conf/evaluation`` that take a run."""

    def measure_run(self, run: Run) -> str:
        """Measure a run, write its tables, and return the name of the one that sums it up, without ``.json``.

        Raises InputError where it does not fit the run.
        """
