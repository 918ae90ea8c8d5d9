"""A chain of tiny runs, from nothing to a report, that tests of whole commands share."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import mora
from mora.files import write_bytes
from mora.report import markup, page
from mora.report.style import Plate
from mora.run.plan import Stage


def chain_options(root: Path) -> list[str]:
    """The whole way in two steps a stage."""
    steps = "'algo.epochs=null','algo.steps=2','algo.batch_size=16'"
    return [
        f"paths.runs={root}",
        "dataset.supervised={train: 64, test: 8}",
        "dataset.pairs={train: 64, test: 16}",
        "model.config.hidden_size=32",
        "model.config.intermediate_size=48",
        "model.config.num_hidden_layers=1",
        "model.config.num_attention_heads=2",
        "model.config.num_key_value_heads=2",
        f"start.sft=[{steps},'algo.test_rows=8']",
        f"start.reward_model=[{steps},'algo.reference_prompts=8','algo.reference_samples=2']",
        "algo.steps=2",
        "algo.epochs=1",
        "algo.minibatches=2",
        "algo.critic_width=8",
        "algo.rollout.prompts=4",
        "algo.rollout.samples=2",
        "evaluation.preferences=[[1,0],[0.5,0.5],[0,1]]",
        "evaluation.prompts=4",
        "evaluation.samples=2",
    ]


def without_pictures(patch: pytest.MonkeyPatch) -> None:
    """Pages are written as ever, but nothing is drawn on them, which takes most of the time."""
    patch.setattr(page, "save_plate", lambda plate, folder: [])
    patch.setattr(markup, "inline_svg", lambda panel, name: "")


def empty_files(plate: Plate, folder: Path) -> list[Path]:
    """What ``style.save_plate`` writes, with nothing in it."""
    files = [folder / f"{plate.name}.{kind}" for kind in ("png", "pdf")]
    for file in files:
        write_bytes(file, b"")
    return files


def without_files(patch: pytest.MonkeyPatch) -> None:
    """Pages have their pictures, but the files of figures are empty: drawing those takes most of the time."""
    patch.setattr(page, "save_plate", empty_files)


def last(chain) -> Stage:
    return chain[1][-1]


def ask(module: str, chain, *overrides: str) -> Any:
    """Run an entry point's task on the finished run."""
    given = [f"run={last(chain).id}", f"paths.runs={last(chain).path.parent}", *overrides]
    task = vars(importlib.import_module(f"mora.{module}"))[module]
    return task(mora.compose(*given, command=module), given)
