"""A reward that nobody trains here: its units are measured on the reference policy, and that is the run."""

from __future__ import annotations

import time
from typing import Any

import torch

from mora.files import write_lines
from mora.reward.hub import Hub
from mora.reward.hub_panel import HubPanel
from mora.runtime.actor import standardize
from mora.runtime.console import say
from mora.runtime.parts import Parts


def measure(parts: Parts, kind: Hub, *, prompts: int, samples: int) -> dict[str, Any]:
    """Open the classifiers, standardize them on samples of the reference policy and write ``reward/``.

    ``samples`` answers to each of ``prompts`` training prompts, as ``standardize`` draws them; one row of metrics says
    what was spent.
    """
    begin, runtime = time.perf_counter(), parts.runtime
    panel = HubPanel.open(kind, parts.corpus.objectives, runtime.device)
    policy, tokenizer = parts.starting_model(frozen=True)
    standardize(parts, panel, policy.eval(), parts.encoder(tokenizer), prompts=prompts, samples=samples)
    row = parts.spent.take(runtime) | {
        "time/step": time.perf_counter() - begin,
        "memory/peak": float(runtime.gather(torch.tensor([parts.memory.gib()])).max()),
    }
    if runtime.main:
        for note in panel.notes():
            say(f"{parts.folder.id}: {note}")
        panel.save(parts.folder.path / "reward", notes=panel.notes())
        write_lines(parts.folder.metrics, [{"step": 1} | row])
    runtime.barrier()
    return {}
