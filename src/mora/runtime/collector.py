"""Makes rollouts: chooses prompts and preferences, samples, reads and scores; credit is the algorithm's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.dataset.order import batch
from mora.errors import InputError
from mora.functional.noise import Stream, normal
from mora.functional.scalarize import Learned, check_sharing
from mora.model.generate import Sampling
from mora.model.policy import Policy
from mora.reward.scorer import Scorer
from mora.reward.tracking import Tracking
from mora.runtime.console import say
from mora.runtime.context import Context
from mora.runtime.rewards import Rewards
from mora.runtime.rollout import Rollout, RolloutSettings
from mora.runtime.rollout_metrics import rollout_metrics
from mora.runtime.sampling import decode, sample_rows
from mora.types import Prompts, Row, Sequences, content_id

ON_POLICY = Sampling(temperature=1.0, top_p=1.0, top_k=0)


class RolloutCollector:
    """Makes rollouts: chooses prompts and preferences, samples, reads and scores."""

    def __init__(
        self,
        context: Context,
        settings: RolloutSettings,
        scorer: Scorer,
        encoder: Encoder,
        *,
        minibatches: int,
    ) -> None:
        self.context, self.settings, self.scorer, self.encoder = context, settings, scorer, encoder
        self.minibatches = minibatches
        assert context.scalarize is not None and context.preference is not None
        check_sharing(context.scalarize, context.preference.unit, prompts=settings.prompts, samples=settings.samples)
        settings.check_scalarize(context.scalarize)
        if isinstance(context.scalarize, Learned):
            assert scorer.standardization is not None
            fixed = context.preference.fixed
            context.scalarize.bind(scorer.objectives, scorer.standardization.in_units, one=fixed)
        share = settings.prompts * settings.samples / context.runtime.world_size
        if share % minibatches:
            raise InputError(
                f"{settings.prompts} prompts x {settings.samples} samples on {context.runtime.world_size} processes "
                f"cannot be cut into algo.minibatches={minibatches} equal parts; change algo.rollout.prompts or "
                "algo.minibatches"
            )
        self.rewards = Rewards(
            context,
            scorer,
            center_by_prompt=settings.center_by_prompt,
            tracking=settings.tracking,
            tracking_decay=settings.tracking_decay,
            score_clip=settings.score_clip,
            normalize_rewards=settings.normalize_rewards,
            truncated=settings.truncated,
            missing_eos_penalty=settings.missing_eos_penalty,
        )

    @property
    def stateful(self) -> dict[str, Tracking | Learned]:
        """What belongs into a checkpoint, by name."""
        kept = {"tracking": self.rewards.tracking, "multipliers": self.context.scalarize}
        return {name: one for name, one in kept.items() if isinstance(one, Tracking | Learned)}

    def rows(self, step: int) -> list[Row]:
        """The prompts of a step, over all processes."""
        prompts = self.context.corpus.prompts["train"]
        return [prompts[i] for i in batch(step, len(prompts), self.settings.prompts, self.context.seed)]

    def collect(self, policy: Policy, rows: Sequence[Row], step: int) -> Rollout:
        """Answers of the current policy to ``rows``; the policy is left in training mode."""
        context, settings, encoder = self.context, self.settings, self.encoder
        context.runtime.within("rollout")
        policy.eval()
        places = context.runtime.share(range(len(rows) * settings.samples))
        prompts, groups = sample_rows(rows, settings.samples, encoder, context.runtime.device, places)
        numbers = torch.tensor([place % settings.samples for place in places])
        preference = self._preferences(prompts.row_ids, groups, numbers, step).to(context.runtime.device)
        with context.runtime.autocast():
            tokens, response = policy.generate(
                prompts,
                preference,
                sampling=ON_POLICY,
                seed=context.seed,
                step=step,
                max_new_tokens=encoder.max_response,
                ends=encoder.ends,
                pad=encoder.pad,
                at_once=context.runtime.sample_batch,
            )
        context.usage.sampled(response)
        longest = int(response.sum(-1).max())
        rollout = self.read(policy, prompts, preference, tokens[:, :longest], response[:, :longest], step)
        if step == 0 and not torch.equal(rollout.old_logps, rollout.ref_logps):
            raise RuntimeError("at step 0 the adapted policy is not its reference: the adapter does not start at zero")
        rollout.group = groups
        policy.train()
        return rollout

    def _preferences(self, rows: Tensor, groups: Tensor, numbers: Tensor, step: int) -> Tensor:
        """Preferences (B, M): what is drawn is drawn among the objectives that steer."""
        context, objectives = self.context, self.scorer.objectives
        assert context.preference is not None and context.scalarize is not None
        draw = partial(context.preference, rows, groups, numbers, seed=context.seed, step=step)
        if context.preference.fixed:
            return draw(len(objectives))
        places = context.scalarize.steered(objectives)
        drawn = draw(len(places))
        return drawn.new_zeros(len(drawn), len(objectives)).index_copy_(1, torch.tensor(places), drawn)

    @torch.no_grad()
    def read(
        self, policy: Policy, prompts: Prompts, preference: Tensor, tokens: Tensor, response: Tensor, step: int
    ) -> Rollout:
        """All that updates need to know of responses (B, T), with mask ``response``, sampled at ``preference`` (B, M).

        ``step`` and the identities of the rows are what the noise of scores is keyed by.  Every process hands in as
        many rows.  Where there are constraints, their multipliers take a step by what these rows got.
        """
        runtime, encoder = self.context.runtime, self.encoder
        texts, sampled = decode(tokens, response, encoder)
        ended = torch.tensor(sampled.ended, device=response.device)
        trained = response & ended[:, None] if self.settings.truncated == "mask" else response
        sequences = collate.sequences(prompts, tokens, response, preference)
        passes, values = self._passes(policy, sequences)
        rewards = self.rewards(prompts.texts, texts, sampled)
        if self.settings.score_noise:
            places = torch.arange(rewards.shape[1], device=prompts.row_ids.device)
            drawn = normal(self.context.seed, Stream.SCORE, step, prompts.row_ids[:, None], places[None, :])
            rewards = rewards + self.settings.score_noise * drawn.to(rewards)
        streams, weights = self._scalarized(rewards, preference, prompts.texts)
        global_rows = len(tokens) * runtime.world_size
        return Rollout(
            ids=sequences.ids,
            mask=sequences.mask,
            response=response,
            trained=trained,
            ended=ended,
            preference=preference,
            rewards=rewards,
            streams=streams,
            weights=weights,
            offset=len(tokens) * runtime.rank,
            global_rows=global_rows,
            normalizer=global_rows / self.minibatches * encoder.max_response,
            prompts=prompts.texts,
            texts=texts,
            values=values,
            **passes,
        )

    def _passes(self, policy: Policy, rows: Sequences) -> tuple[dict[str, Tensor], Tensor | None]:
        """Log-probabilities of policy and reference, entropies, and a critic's values, by the forward of training."""
        found: dict[str, list[Tensor]] = {"old_logps": [], "ref_logps": [], "entropy": []}
        values: list[Tensor] = []
        for place in self._rows(len(rows.ids), policy.rows_at_once(rows.length)):
            some = rows.rows(place)
            forward = policy(some, with_entropy=True)
            found["old_logps"].append(forward.logps)
            values += [] if forward.values is None else [forward.values]
            found["entropy"].append(forward.entropy)
            with self.context.runtime.autocast():  # as the engine computes the policy's own pass
                found["ref_logps"].append(policy.reference(some))
            self.context.usage.read(2 * len(some.ids))  # by the policy and by its reference
        return {name: torch.cat(tensors) for name, tensors in found.items()}, torch.cat(values) if values else None

    def _rows(self, count: int, most: int) -> Iterator[slice]:
        """Rows of passes that are not differentiated: micro-batches, cut to ``most``."""
        for index in self.context.micro_batches(range(count)):
            for start in range(index[0], index[-1] + 1, most):
                yield slice(start, min(start + most, index[-1] + 1))

    def _scalarized(self, rewards: Tensor, preference: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Streams and weights (B, C) of this process' rows; means are those of the global batch."""
        runtime, scalarize = self.context.runtime, self.context.scalarize
        assert scalarize is not None
        if isinstance(scalarize, Learned):
            scalarize.observe(rewards, preference, runtime.sum)
        if not scalarize.shares:
            own: tuple[Tensor, Tensor] = scalarize.streams(rewards, preference)
            return own
        ids = torch.tensor([content_id(prompt) for prompt in prompts], device=rewards.device)
        everything = scalarize.streams(*(runtime.gather(rows) for rows in (rewards, preference, ids)))
        mine = slice(runtime.rank * len(rewards), (runtime.rank + 1) * len(rewards))
        return everything[0][mine], everything[1][mine]

    def metrics(self, rollout: Rollout) -> dict[str, float]:
        """Means over the global batch of what was sampled."""
        names, tracking = self.scorer.objectives, self.rewards.tracking
        metrics = rollout_metrics(self.context, rollout, names) | self.learned
        return metrics if tracking is None else metrics | tracking.metrics(names)

    def conclude(self) -> dict[str, float]:
        """The summary of a run; says what there is to tell of what was learned."""
        if isinstance(self.context.scalarize, Learned):
            for note in self.context.scalarize.notes():
                say(f"{self.context.folder.id}: {note}")
        return self.learned

    @property
    def learned(self) -> dict[str, float]:
        """What the scalarizer learned: multipliers, and what the last rollout missed their floors by."""
        scalarize = self.context.scalarize
        return scalarize.metrics() if isinstance(scalarize, Learned) else {}
