"""What every algorithm is handed: built once from the configuration, one object per group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mora.dataset.corpus import Corpus
from mora.dataset.encode import Encoder
from mora.dataset.order import batch, grouped_batch
from mora.dataset.store import StoredRows
from mora.dataset.tokens import tokenized
from mora.errors import InputError
from mora.functional.preference import Drawing
from mora.model.adapter import AdapterKind
from mora.model.capacity import check_lengths, check_tokens
from mora.model.load import ModelSpec, load_causal, load_tokenizer
from mora.reward import RewardKind, RulesKind
from mora.reward.scorer import Scorer
from mora.reward.stored import load_scorer
from mora.runtime.devices import available_cores
from mora.runtime.engine import Engine, Runtime
from mora.runtime.folder import RunFolder
from mora.runtime.loop import Loop
from mora.runtime.memory import PeakMemory
from mora.runtime.track import Tracker
from mora.runtime.usage import Usage
from mora.types import RewardBelief, Row


@dataclass(kw_only=True)
class Context:
    """The objects of a run.  ``policy``, the folders and ``upstream`` name what earlier stages left, if any."""

    seed: int
    folder: RunFolder
    runtime: Runtime
    tracker: Tracker
    corpus: Corpus
    model: ModelSpec
    policy: str | None  # folder or hub id of the policy to start from
    reward_folder: Path | None  # model folder of the reward run
    trunk_folder: Path | None  # model folder of a reward run whose trunk is converted
    teacher_folder: Path | None  # model folder of a reward run whose scores are learned
    reward: RewardKind | None
    risk: Callable[[RewardBelief], Tensor] | None
    scalarize: Any | None  # a Scalarizer
    preference: Drawing | None
    adapter: AdapterKind | None
    provenance: Mapping[str, str]  # ids of the runs that this one stands on
    upstream: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # role -> folders (or hub ids) that fill it
    usage: Usage = field(default_factory=Usage, init=False)
    encoders: list[Encoder] = field(default_factory=list, init=False, repr=False)  # all that read texts for this run
    memory: PeakMemory = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """A stage begins: the peak of memory is measured from here on."""
        self.memory = PeakMemory(self.runtime.device)

    def starting_model(self, *, frozen: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The policy to start from with its tokenizer; without one, the base model.

        In ``model.dtype``, and quantized where the model says so, when its weights stay ``frozen``; else in fp32.
        """
        tokenizer = self.starting_tokenizer()
        return self.starting_weights(tokenizer, frozen=frozen), tokenizer

    def starting_policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The same for an algorithm whose adapter says which weights are trained."""
        assert self.adapter is not None
        return self.starting_model(frozen=not self.adapter.whole)

    def starting_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the policy to start from."""
        if self.policy is None:
            return self.model.tokenizer(self.corpus.tokenizer_texts(), tokens=self.corpus.tokens)
        return load_tokenizer(self.policy, template_date=self.model.template_date)

    def starting_weights(self, tokenizer: PreTrainedTokenizerBase, *, frozen: bool) -> PreTrainedModel:
        """The policy to start from without its tokenizer, as ``starting_model`` gives it."""
        spec = self.model if frozen else self.model.trained
        if self.policy is None:
            model = spec.build(tokenizer, seed=self.seed)
        else:
            model = load_causal(self.policy, spec)
        self.check_reach(model, tokenizer, self.policy or self.model.path or "model.config")
        if spec.quantization is None:  # quantized weights were put in their place while they were loaded
            model.to(self.runtime.device)  # type: ignore[arg-type]
        return model

    def check_reach(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: object) -> None:
        """Raises InputError where ``model`` cannot read a token of its tokenizer, or the longest text of this run."""
        check_tokens(model, tokenizer, name)
        check_lengths(model, self.corpus.max_prompt, self.corpus.max_response, name)

    def encoder(self, tokenizer: PreTrainedTokenizerBase) -> Encoder:
        """The encoder of this corpus' limits for one tokenizer, always the same."""
        for encoder in self.encoders:
            if encoder.tokenizer is tokenizer:
                return encoder
        self.encoders.append(self.corpus.encoder(tokenizer))
        return self.encoders[-1]

    def notes(self) -> list[str]:
        """What to tell the user about texts that were cut or left out; of several processes, about this one's."""
        return list(dict.fromkeys(note for encoder in self.encoders for note in encoder.notes()))

    def scorer(self) -> Scorer:
        """The reward of this run: rules, or the model of the reward run."""
        if self.reward_folder is None:
            assert isinstance(self.reward, RulesKind)
            return self.reward.scorer(self.corpus)
        return load_scorer(self.reward_folder, self.runtime.device).select(self.corpus.objectives)

    def loop(self, engine: Engine, total: int, stateful: Mapping[str, Any] | None = None) -> Loop:
        """The step loop of this run: resume, checkpoints, metrics, progress.

        What was spent up to here goes into the row of the first step; a run that is continued after it has that row.
        """
        loop = Loop(
            self.folder,
            self.runtime,
            engine,
            total=total,
            stateful=stateful or {},
            tracker=self.tracker,
            memory=self.memory,
        )
        if loop.done > 0:
            self.usage.clear()
        return loop

    def admitted(self, rows: Sequence[Row], encoder: Encoder) -> Sequence[Row]:
        """The rows to train on; rows that lie in files are tokenized first, once, into a folder beside theirs.

        Raises InputError as ``Encoder.admit`` and ``tokenized`` do.
        """
        if isinstance(rows, StoredRows):
            workers = self.runtime.workers or available_cores()
            rows = tokenized(rows, encoder, rows.folder.parent, workers=workers)
        return encoder.admit(rows)

    def batches(
        self, rows: Sequence[Row], encoder: Encoder, batch_size: int, window: int
    ) -> Callable[[int], NDArray[np.int64]]:
        """The rows of the global batch of a step; with a ``window`` above 1, grouped by length in so many batches."""
        if window == 1:
            return partial(batch, rows=len(rows), batch_size=batch_size, seed=self.seed)
        lengths = encoder.lengths(rows)
        return partial(grouped_batch, lengths=lengths, batch_size=batch_size, seed=self.seed, window=window)

    def micro_batches(
        self, rows: Sequence[int] | np.ndarray, lengths: NDArray[np.integer[Any]] | None = None
    ) -> list[list[int]]:
        """This rank's rows, cut to ``runtime.micro_batch`` at most, where it is null to what suits the model.

        With their ``lengths``, like ones stand together.
        """
        size = self.runtime.micro_batch or self.model.micro_batch or max(len(rows), 1)
        if lengths is not None and len(rows) > size:
            rows = [rows[i] for i in np.argsort(lengths, kind="stable")]
        return [list(rows[i : i + size]) for i in range(0, len(rows), size)]


def check_length(steps: int | None, epochs: float | None) -> None:
    """Raises InputError unless exactly one of the two is given."""
    if (steps is None) == (epochs is None):
        raise InputError("algo.steps and algo.epochs: give one of the two and set the other to null")


def total_steps(*, steps: int | None, epochs: float | None, rows: int, batch_size: int) -> int:
    """Optimizer steps of a run: ``steps``, or as many as ``epochs`` passes over ``rows`` take (at least one).

    Raises InputError unless exactly one of the two is given.
    """
    check_length(steps, epochs)
    if steps is not None:
        return steps
    assert epochs is not None
    return max(round(epochs * rows / batch_size), 1)
