"""The policy: a causal model, what is trained of it, and a critic that knows the preference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mora.functional.preference import among
from mora.model.adapter import Adapter
from mora.model.generate import Sampling, generate
from mora.types import Prompts, Sequences


def token_logps(logits: Tensor, tokens: Tensor) -> Tensor:
    """``log pi(token)`` for logits (B, T, V) and tokens (B, T), computed in fp32 or better: (B, T) nats."""
    logits = _precise(logits)
    return logits.gather(-1, tokens[..., None]).squeeze(-1) - logits.logsumexp(-1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the next-token distribution in nats: (B, T, V) -> (B, T)."""
    logs = _precise(logits).log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def _precise(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


LOGITS_AT_ONCE = 2**26  # numbers, 256 MiB in fp32: of passes that are not differentiated and keep one number per token


class Critic(nn.Module):
    """Values of C streams from hidden states and the preference of the row: (B, T, H), (B, M) -> (B, T, C).

    It reads detached features of the policy, so it costs no pass of its own and does not move the policy.
    """

    def __init__(self, hidden: int, objectives: int, outputs: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.body = nn.Sequential(
            nn.Linear(hidden + objectives, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, outputs),
        )

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw the weights; the last layer starts at zero, so the first values are 0."""
        for layer in self.body:
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * layer.in_features**-0.5)
                layer.bias.zero_()
        last = self.body[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()

    def forward(self, hidden: Tensor, preference: Tensor) -> Tensor:
        """Value of each stream after each position, in the precision of the critic's own weights (fp32)."""
        features = self.norm(hidden.detach().to(self.norm.weight.dtype))
        rows = preference.to(features)[:, None, :].expand(-1, hidden.shape[1], -1)
        return self.body(torch.cat([features, rows], dim=-1))


@dataclass(kw_only=True)
class Forward:
    """What one pass over prompt and response gives, on response tokens."""

    logps: Tensor  # (B, T)
    entropy: Tensor | None  # (B, T), no gradient
    values: Tensor | None  # (B, T, C): value before each response token
    distribution: Tensor | None  # (B, T+1, V): log-probabilities of every next token, from before the first one on


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The input of an LM head, whole: of a slice, torch multiplies each row with a copy of the frozen head."""
    return (inputs[0].contiguous(), *inputs[1:])


class Policy(nn.Module):
    """Everything that policy optimization trains, in one module.

    All passes of a training step go through ``forward``, so it can be wrapped for data parallelism.  Weights of the
    objectives at the places ``floored`` steer nothing: a preference counts among the others.
    """

    def __init__(
        self, model: PreTrainedModel, adapter: Adapter, critic: Critic | None, *, floored: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.model, self.critic = model, critic
        self.adapter, self.floored = adapter, tuple(floored)
        self._off = False
        for acting in filter(None, (model, adapter.frozen)):
            acting.get_output_embeddings().register_forward_pre_hook(_contiguous)

    def forward(
        self,
        rows: Sequences,
        *,
        with_values: bool = True,
        with_entropy: bool = False,
        with_distribution: bool = False,
    ) -> Forward:
        """Log-probabilities (and values) of the last T tokens of each row, at its own preference.

        A policy that is not steered heeds no preference, and its critic alone may need one.
        """
        with self._using(rows.preference):
            return self._pass(
                rows, with_values=with_values, with_entropy=with_entropy, with_distribution=with_distribution
            )

    @property
    def steered(self) -> bool:
        """Whether a preference changes what the policy does."""
        return bool(self.adapter.settings.steered)

    @property
    def trained(self) -> bool:
        """Whether the policy may differ from its reference: False for a plain model, which is its own."""
        return self.adapter.frozen is not self.model

    @contextmanager
    def off(self) -> Iterator[None]:
        """The reference policy for what is called inside the block: what is trained is out of force."""
        before, self._off = self._off, True
        try:
            with self.adapter.off():
                yield
        finally:
            self._off = before

    @property
    def _acting(self) -> PreTrainedModel:
        return self.adapter.frozen or self.model if self._off else self.model

    def rows_at_once(self, response: int) -> int:
        """Rows of a pass that is not differentiated, so that it makes at most ``LOGITS_AT_ONCE`` logits; at least 1."""
        vocabulary = len(cast(nn.Embedding, self.model.get_input_embeddings()).weight)
        return max(LOGITS_AT_ONCE // ((response + 1) * vocabulary), 1)

    @torch.no_grad()
    def logps(self, rows: Sequences) -> Tensor:
        """Log-probabilities (B, T) alone, as ``forward`` gives them, in passes of ``rows_at_once``."""
        size, found = self.rows_at_once(rows.length), []
        for start in range(0, len(rows.ids), size):
            found.append(self(rows.rows(slice(start, start + size)), with_values=False).logps)
        return torch.cat(found)

    def _using(self, preference: Tensor | None) -> AbstractContextManager[None]:
        if self._off:
            return nullcontext()
        return self.adapter.using(None if preference is None else among(preference, self.floored))

    def reference(self, rows: Sequences) -> Tensor:
        """Log-probabilities (B, T) of the reference policy, as ``logps`` gives those of the policy."""
        with self.off():
            return self.logps(rows)

    def _pass(self, rows: Sequences, *, with_values: bool, with_entropy: bool, with_distribution: bool) -> Forward:
        rows, length = rows.trimmed(), rows.length
        wants_values = with_values and rows.preference is not None and self.critic is not None
        output = self._acting(
            input_ids=rows.ids,
            attention_mask=rows.mask.long(),
            position_ids=(rows.mask.cumsum(-1) - 1).clamp_min(0),
            logits_to_keep=length + 1,
            output_hidden_states=wants_values,
            use_cache=False,
        )
        kept = output.logits[:, -length - 1 :]  # all of them where the architecture does not know logits_to_keep
        distribution = _precise(kept).log_softmax(-1) if with_distribution else None
        logits = kept[:, :-1]
        values = None
        if wants_values:
            assert self.critic is not None and rows.preference is not None
            values = self.critic(output.hidden_states[-1][:, -length - 1 : -1], rows.preference)
        with torch.no_grad():
            spread = entropy(logits) if with_entropy else None
        logps = token_logps(logits, rows.ids[:, rows.ids.shape[1] - length :])
        return Forward(logps=logps, entropy=spread, values=values, distribution=distribution)

    def generate(
        self,
        prompts: Prompts,
        preference: Tensor | None,
        *,
        sampling: Sampling,
        seed: int,
        step: int,
        max_new_tokens: int,
        ends: Sequence[int],
        pad: int,
        at_once: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sample one response per row at its preference: tokens (B, T) and mask (B, T).

        ``at_once`` bounds the rows that are sampled together, with their cache; None: all are.
        """
        made = []
        for start in range(0, len(prompts.ids), at_once or len(prompts.ids)):
            rows = slice(start, start + (at_once or len(prompts.ids)))
            with self._using(None if preference is None else preference[rows]):
                made.append(
                    generate(
                        self._acting,
                        prompts.take(rows),
                        sampling=sampling,
                        seed=seed,
                        step=step,
                        max_new_tokens=max_new_tokens,
                        ends=ends,
                        pad=pad,
                        on_shrink=self.adapter.shrink,
                    )
                )
        tokens, masks = zip(*made, strict=True)
        return torch.cat(tokens), torch.cat(masks)
