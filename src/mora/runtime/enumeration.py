"""All responses of a small vocabulary: their probabilities under a policy, and their rewards.

A response is a sequence of tokens up to its end token, or of ``max_response`` tokens without one.  With V tokens and T
places there are ``sum_{t<=T} (V-1)^t`` of them; one pass over the (V-1)^(T-1) longest prefixes gives the
probabilities of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.model.policy import Forward
from mora.reward.scorer import Scorer
from mora.runtime.sampling import decode
from mora.types import RewardBelief, Row, Sampled, Sequences


@dataclass(frozen=True, kw_only=True)
class Responses:
    """Every response of at most T tokens out of V, those that end first first; ``tokens`` are padded with the end."""

    tokens: Tensor  # (Y, T)
    mask: Tensor  # (Y, T) bool
    prefixes: Tensor  # (R, T-1): every sequence of T-1 tokens that are not the end, in lexicographic order
    content: Tensor  # (V-1,) the tokens that are not the end
    eos: int

    @classmethod
    def of(cls, vocabulary: int, length: int, eos: int, *, limit: int) -> Responses:
        """All responses.  Raises InputError when there are more than ``limit``."""
        width = vocabulary - 1
        if length * math.log2(max(width, 1)) > 64 or sum(width**t for t in range(length + 1)) > limit:
            raise InputError(
                f"{vocabulary} tokens at {length} places make more than {limit:,} responses; only a world as small as "
                "dataset=oracle can be enumerated"
            )
        content = torch.tensor([token for token in range(vocabulary) if token != eos])
        rows, masks = [], []
        for words in range(length + 1):
            sequences = _sequences(content, words)
            padded = torch.full((len(sequences), length), eos)
            padded[:, :words] = sequences
            rows.append(padded)
            masks.append(torch.arange(length).expand(len(sequences), -1) <= words)
        return cls(
            tokens=torch.cat(rows),
            mask=torch.cat(masks),
            prefixes=_sequences(content, length - 1),
            content=content,
            eos=eos,
        )

    def logps(self, steps: Tensor) -> Tensor:
        """Log-probabilities (..., Y) from those of every next token after each prefix (..., R, T, V), in nats."""
        *lead, _, length, _ = steps.shape
        width = len(self.content)
        content = self.content.to(steps.device)
        reached = steps.new_zeros(*lead, 1)
        found = []
        for place in range(length):
            apart = width ** (length - 1 - place)  # prefixes that share their first `place` tokens stand together
            following = steps[..., ::apart, place, :]
            found.append(reached + following[..., self.eos])
            reached = (reached[..., None] + following[..., content]).flatten(-2)
        return torch.cat([*found, reached], dim=-1)


def _sequences(tokens: Tensor, length: int) -> Tensor:
    """Every sequence of ``length`` of ``tokens``, in lexicographic order."""
    if length == 0:
        return tokens.new_zeros(1, 0)
    if length == 1:
        return tokens[:, None]
    return torch.cartesian_prod(*[tokens] * length)


class Enumeration:
    """All responses to some prompts: X prompts, Y responses each."""

    def __init__(self, rows: Sequence[Row], encoder: Encoder, device: torch.device, *, limit: int) -> None:
        vocabulary = len(encoder.tokenizer)
        if len(encoder.ends) > 1:
            raise InputError(
                f"{len(encoder.ends)} tokens of {encoder.tokenizer.name_or_path} end an answer, and all responses can "
                "be enumerated only where one does; use dataset=oracle with a model that is made for it"
            )
        self.responses = Responses.of(vocabulary, encoder.max_response, encoder.eos, limit=limit)
        self.prompts = [row.prompt for row in rows]
        self.texts, self.sampled = decode(self.responses.tokens, self.responses.mask, encoder)
        prefixes = self.responses.prefixes.to(device)
        prompts = collate.prompts(list(rows), encoder).to(device)
        repeated = prompts.ids.repeat_interleave(len(prefixes), 0), prompts.mask.repeat_interleave(len(prefixes), 0)
        self.ids = torch.cat([repeated[0], prefixes.repeat(len(rows), 1)], 1)  # (X R, L)
        self.mask = torch.cat([repeated[1], torch.ones_like(prefixes, dtype=torch.bool).repeat(len(rows), 1)], 1)

    def logps(self, module: nn.Module, preference: Tensor | None, *, batch_size: int | None = None) -> Tensor:
        """Log-probabilities (X, Y) of all responses at one preference (M,); None where none is needed.

        ``module`` is a policy, or what an engine wrapped around it; ``batch_size`` bounds the rows of a pass.
        """
        size = batch_size or len(self.ids)
        steps = []
        for start in range(0, len(self.ids), size):
            ids, mask = self.ids[start : start + size], self.mask[start : start + size]
            rows = None if preference is None else preference.to(ids.device).expand(len(ids), -1)
            places = self.responses.prefixes.shape[1]
            some = Sequences(ids=ids, mask=mask, response=mask[:, mask.shape[1] - places :], preference=rows)
            forward: Forward = module(some, with_values=False, with_distribution=True)
            assert forward.distribution is not None
            steps.append(forward.distribution)
        together = torch.cat(steps)
        return self.responses.logps(together.view(len(self.prompts), -1, *together.shape[1:]))

    def _everywhere(self) -> tuple[list[str], list[str], Sampled]:
        """Prompts and responses, every pair of them, and what is known of the responses."""
        count = len(self.prompts)
        sampled = self.sampled.take([*range(len(self.texts))] * count)
        return [p for p in self.prompts for _ in self.texts], self.texts * count, sampled

    def standardize(self, scorer: Scorer, ref_logps: Tensor) -> None:
        """Give ``scorer`` its units exactly, from the reference policy's log-probabilities (X, Y)."""
        weights = ref_logps.double().exp().flatten() / len(self.prompts)
        prompts, texts, sampled = self._everywhere()
        scorer.standardize(prompts, texts, {"weights": "exact"}, weights=weights, sampled=sampled)

    def rewards(self, scorer: Scorer, risk: Callable[[RewardBelief], Tensor]) -> Tensor:
        """Rewards (X, Y, M) of all responses: the risk of the scorer's belief, in its standard units."""
        return risk(scorer.score(*self._everywhere())).view(len(self.prompts), len(self.texts), -1)
