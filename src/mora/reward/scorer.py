"""Scorers score texts on all objectives: a trained model, or true scores, in one unit; higher is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.dataset.true_scores import TrueScores
from mora.errors import InputError
from mora.files import read_object, write_json
from mora.functional.quantile import dbt_log_likelihood
from mora.model.score_model import CARD, ScoreModel, read_card
from mora.reward import HeadKind
from mora.reward.card import kind_of, section_of
from mora.reward.point import point_belief
from mora.reward.standardization import Standardization
from mora.types import RewardBelief, Sampled

Features = Callable[[Sequence[NDArray[np.integer[Any]]], str], Tensor]
"""Features (N, H) of token sequences, which are called so and so."""

SCORED_AT_ONCE = 32  # sequences per forward pass; changes memory and speed only


class Scorer(ABC):
    """Scores of M objectives.  ``score`` is in units of the reference policy's standard deviation, ``raw`` is not.

    Answers are whole, unless ``sampled`` says which of them ended: one that was cut off is scored as it stands, without
    an end token; on a synthetic task it is no answer.  ``passes``: how many models read a text to score it.
    ``members``: equal parts of the atoms that belong to a model each.  ``zero``: for which objectives a raw score of 0
    has a meaning; such scores are divided by a deviation and never shifted.
    """

    passes: int = 0
    members: int = 1

    def __init__(self, objectives: Sequence[str], standardization: Standardization | None) -> None:
        self.objectives, self.standardization = tuple(objectives), standardization
        self.zero: tuple[bool, ...] = (False,) * len(self.objectives)

    @abstractmethod
    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Sampled | None = None) -> RewardBelief:
        """Belief (B, M, S) in the source's own units: logits of a model, scores of a world."""

    def pairs(
        self, prompts: Sequence[str], responses_0: Sequence[str], responses_1: Sequence[str]
    ) -> tuple[RewardBelief, Tensor, Tensor]:
        """Raw beliefs (2B, M, S) of first and then second answers, and log-probabilities (B, M) that 0 and that 1 wins.

        Rules are asked as if their scores were logits of Bradley and Terry.
        """
        belief, half = self.raw([*prompts, *prompts], [*responses_0, *responses_1]), len(prompts)
        atoms_0, atoms_1 = belief.atoms[:half], belief.atoms[half:]
        return belief, dbt_log_likelihood(atoms_0, atoms_1), dbt_log_likelihood(atoms_1, atoms_0)

    @property
    def standardized(self) -> bool:
        """Whether ``score`` has its unit."""
        return self.standardization is not None

    def score(self, prompts: Sequence[str], responses: Sequence[str], sampled: Sampled | None = None) -> RewardBelief:
        """Belief (B, M, S) in standard units.  Raises InputError before ``standardize``: raw scales do not mix."""
        if self.standardization is None:
            raise InputError(
                f"the reward of {', '.join(self.objectives)} has no reference statistics, so its objectives share no "
                "unit; train it again with algo=reward_model on a language model and algo.reference_prompts above 0, "
                "which measures them"
            )
        return self.standardization(self.raw(prompts, responses, sampled))

    def standardize(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        provenance: Mapping[str, Any],
        weights: Tensor | None = None,
        sampled: Sampled | None = None,
    ) -> Standardization:
        """Take mean 0 and deviation 1 per objective on these reference samples, weighed by ``weights``, from here on.

        Objectives whose ``zero`` means something take the deviation alone.  ``provenance`` says whose samples they are
        (run of the policy, seed).  Raises InputError when an objective does not vary.
        """
        belief = self.raw(prompts, responses, sampled)
        self.standardization = Standardization.fit(
            belief,
            objectives=self.objectives,
            prompts=prompts,
            provenance=provenance,
            weights=weights,
            zero=self.zero,
            members=self.members,
        )
        return self.standardization

    def select(self, objectives: Sequence[str]) -> Scorer:
        """The same scores for some objectives, in the order given.  Raises InputError for one that is not scored."""
        unknown = [name for name in objectives if name not in self.objectives]
        if unknown or not objectives:
            raise InputError(
                f"objectives {', '.join(unknown) or '(none)'}: the reward has {', '.join(self.objectives)}; choose of "
                "these, or train a reward model for the others"
            )
        return self if tuple(objectives) == self.objectives else Selection(self, objectives)


class Selection(Scorer):
    """Some objectives of another scorer.  Its statistics are its own from the first ``standardize`` on."""

    def __init__(self, scorer: Scorer, objectives: Sequence[str]) -> None:
        self.scorer = scorer
        self.columns = [scorer.objectives.index(name) for name in objectives]
        known = scorer.standardization
        super().__init__(objectives, None if known is None else known.select(self.columns))
        self.zero, self.members = tuple(scorer.zero[column] for column in self.columns), scorer.members

    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Sampled | None = None) -> RewardBelief:
        """Belief (B, M, S) of the selected objectives."""
        return self._select(self.scorer.raw(prompts, responses, sampled))

    def pairs(
        self, prompts: Sequence[str], responses_0: Sequence[str], responses_1: Sequence[str]
    ) -> tuple[RewardBelief, Tensor, Tensor]:
        """As the whole scorer says, for the selected objectives."""
        belief, wins_0, wins_1 = self.scorer.pairs(prompts, responses_0, responses_1)
        return self._select(belief), wins_0[:, self.columns], wins_1[:, self.columns]

    def _select(self, belief: RewardBelief) -> RewardBelief:
        return replace(belief, atoms=belief.atoms[:, self.columns], weights=belief.weights[:, self.columns])


class ModelScorer(Scorer):
    """The scores of a trained model."""

    def __init__(
        self,
        model: ScoreModel,
        encoder: Encoder,
        kind: HeadKind,
        standardization: Standardization | None = None,
        *,
        batch_size: int = SCORED_AT_ONCE,
    ) -> None:
        super().__init__(model.objectives, standardization)
        if (model.kind, model.head.width) != (kind.name, kind.width):
            raise InputError(
                f"a head of kind {model.kind} with {model.head.width} outputs per objective cannot be read as "
                f"{kind.name} with {kind.width}; train the reward model again"
            )
        self.model, self.encoder, self.kind, self.batch_size = model, encoder, kind, batch_size
        self.features: Features | None = None  # of a frozen trunk, kept in files: what pairs are read by
        self.zero, self.passes, self.members = kind.has_zero(self.objectives), len(model.backbones), kind.shape.members

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str, *, batch_size: int = SCORED_AT_ONCE) -> ModelScorer:
        """The scorer of a reward model folder, checked to score alike under either padding.  Raises InputError."""
        card = read_card(folder)
        path = Path(folder) / CARD
        for key in ("encoding", "reward"):
            if key not in card:
                raise InputError(f"{path}: {key} missing; train the reward model again, with runtime.fresh=true")
        kind = kind_of(card["reward"], path)
        if not isinstance(kind, HeadKind):
            raise InputError(f"{path}: a {kind.name} reward is read off no head; train the reward model again")
        model = ScoreModel.load(folder, device=device)
        model.check_padding()
        known = card.get("standardization")
        standardization = None if known is None else Standardization.read(known)
        return cls(model, Encoder(model.tokenizer, **card["encoding"]), kind, standardization, batch_size=batch_size)

    def save(self, folder: Path | str, **facts_of_training: Any) -> None:
        """Write model, tokenizer, kind, encoding, statistics and further facts as one folder, atomically."""
        limits = {"max_prompt": self.encoder.max_prompt, "max_response": self.encoder.max_response}
        facts = None if self.standardization is None else self.standardization.facts()
        encoding = {**limits, "overlong": self.encoder.overlong}
        own = {"reward": section_of(self.kind), "encoding": encoding, "standardization": facts}
        self.model.save(folder, {**own, **facts_of_training})

    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Sampled | None = None) -> RewardBelief:
        """Belief (B, M, S) in logits, in the order given."""
        with torch.inference_mode():
            return self.kind.belief(self.outputs(prompts, responses, sampled))

    def pairs(
        self, prompts: Sequence[str], responses_0: Sequence[str], responses_1: Sequence[str]
    ) -> tuple[RewardBelief, Tensor, Tensor]:
        """Raw beliefs (2B, M, S) of first and then second answers, and log-probabilities (B, M) that 0 and that 1 wins.

        The probabilities are those of the kind's own likelihood.
        """
        with torch.inference_mode():
            read = self.outputs if self.features is None else self._outputs_by_features
            raw, half = read([*prompts, *prompts], [*responses_0, *responses_1]), len(prompts)
            wins = self.kind.log_wins(raw[:half], raw[half:]), self.kind.log_wins(raw[half:], raw[:half])
            return self.kind.belief(raw), *wins

    @torch.inference_mode()
    def outputs(self, prompts: Sequence[str], responses: Sequence[str], sampled: Sampled | None = None) -> Tensor:
        """Raw outputs (B, M, W) of the head, in the order given; texts of like length share a forward pass."""
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: need one response per prompt")
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(responses[i]))
        raw = torch.zeros(len(prompts), len(self.objectives), self.model.head.width, device=self.model.device)
        training = self.model.training
        self.model.eval()
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            texts = [prompts[i] for i in rows], [responses[i] for i in rows]
            known = None if sampled is None else sampled.take(rows)
            batch = collate.scored(*texts, self.encoder, known).to(self.model.device)
            raw[rows] = self.model(batch.ids, batch.mask)
        self.model.train(training)
        return raw

    def _outputs_by_features(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """The same of whole answers, by features that are kept."""
        assert self.features is not None
        texts = zip(prompts, responses, strict=True)
        sequences = [np.array([*self.encoder.prompt(prompt), *self.encoder.scored(answer)]) for prompt, answer in texts]
        raw: Tensor = self.model.head([self.features(sequences, "held-out answers").to(self.model.device)])
        return raw


class GoldScorer(Scorer):
    """True scores, known exactly."""

    def __init__(self, world: TrueScores, standardization: Standardization | None = None) -> None:
        super().__init__(world.objectives, standardization)
        self.world = world

    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Sampled | None = None) -> RewardBelief:
        """Belief (B, M, 1) in the world's score units."""
        ended = None if sampled is None else sampled.ended
        gold = torch.as_tensor(self.world.gold(prompts, responses, ended), dtype=torch.float32)
        return point_belief(gold[..., None])

    def save(self, folder: Path | str) -> None:
        """Write the statistics; the rules are code."""
        facts = None if self.standardization is None else self.standardization.facts()
        card = {"kind": "gold", "world": self.world.name, "objectives": list(self.objectives), "standardization": facts}
        write_json(Path(folder) / CARD, card)

    @classmethod
    def load(cls, folder: Path | str, world: TrueScores) -> GoldScorer:
        """The scorer of ``world`` with stored statistics.  Raises InputError when they are another world's."""
        path = Path(folder) / CARD
        card = read_object(path, ["world", "objectives", "standardization"])
        if card.get("world") != world.name or tuple(card["objectives"]) != tuple(world.objectives):
            raise InputError(
                f"{path}: not the statistics of world {world.name}; name the folder of a run on this world"
            )
        known = card["standardization"]
        return cls(world, None if known is None else Standardization.read(known))
