"""A reward that nobody trains here: its units are measured on the reference policy, and that is the run."""

from __future__ import annotations

import time
from typing import Any

import torch

from mora.files import write_lines
from mora.reward.hub import Hub
from mora.reward.hub_scorer import HubScorer
from mora.runtime.actor import standardize
from mora.runtime.console import say
from mora.runtime.context import Context


def measure(context: Context, kind: Hub, *, prompts: int, samples: int) -> dict[str, Any]:
    """Open the classifiers, standardize them on samples of the reference policy and write ``reward/``.

    ``samples`` answers to each of ``prompts`` training prompts, as ``standardize`` draws them; one row of metrics says
    what was spent.
    """
    begin, runtime = time.perf_counter(), context.runtime
    scorer = HubScorer.open(kind, context.corpus.objectives, runtime.device)
    policy, tokenizer = context.starting_model(frozen=True)
    standardize(context, scorer, policy.eval(), context.encoder(tokenizer), prompts=prompts, samples=samples)
    row = context.usage.take(runtime) | {
        "time/step": time.perf_counter() - begin,
        "memory/peak": float(runtime.gather(torch.tensor([context.memory.gib()])).max()),
    }
    if runtime.main:
        for note in scorer.notes():
            say(f"{context.folder.id}: {note}")
        scorer.save(context.folder.path / "reward", notes=scorer.notes())
        write_lines(context.folder.metrics, [{"step": 1} | row])
    runtime.barrier()
    return {}
