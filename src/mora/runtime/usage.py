"""What training spends, in units of the algorithm and not of the machine, so that runs compare at equal budget."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mora.reward.scorer import Scorer, Selection
from mora.runtime.devices import Runtime


@dataclass(kw_only=True)
class Usage:
    """Counts of this process since the last row of metrics.

    Algorithms add to them where they sample and where a model reads; ``take`` gives the sums over processes.  Work that
    every process repeats is added by one of them.  Masks are counted on their own device, without waiting for it.
    """

    generated_tokens: int | Tensor = 0  # response tokens that were sampled, end token included
    trained_tokens: int | Tensor = 0  # tokens, of prompt and response, that were read with gradient
    forward_passes: int | Tensor = 0  # whole sequences that a model read, with or without gradient

    def sampled(self, response: Tensor) -> None:
        """Responses with mask (B, T) were sampled; decoding is no pass of whole sequences."""
        self.generated_tokens = self.generated_tokens + response.sum()

    def trained(self, mask: Tensor, *, passes: int = 1) -> None:
        """Sequences with mask (B, L) pass a model, with gradient; recomputation for it is no other pass."""
        self.trained_tokens = self.trained_tokens + passes * mask.sum()
        self.read(passes * len(mask))

    def read(self, sequences: int) -> None:
        """So many sequences pass a model once; a pass that gives several heads is one."""
        self.forward_passes = self.forward_passes + sequences

    def scored(self, scorer: Scorer, responses: int) -> None:
        """So many responses are scored on all objectives, once for each backbone; rules read nothing."""
        while isinstance(scorer, Selection):
            scorer = scorer.scorer
        self.read(responses * scorer.passes)

    def take(self, runtime: Runtime) -> dict[str, float]:
        """Metrics ``spent/*``: exact sums over processes since the last call, by all processes together."""
        counts = (self.generated_tokens, self.trained_tokens, self.forward_passes)
        self.clear()
        here = torch.stack([torch.as_tensor(count, dtype=torch.int64, device=runtime.device) for count in counts])
        generated, trained, passes = runtime.sum(here).tolist()
        return {
            "spent/generated_tokens": float(generated),
            "spent/trained_tokens": float(trained),
            "spent/forward_passes": float(passes),
        }

    def clear(self) -> None:
        """Forget what was counted since the last row."""
        self.generated_tokens = self.trained_tokens = self.forward_passes = 0
