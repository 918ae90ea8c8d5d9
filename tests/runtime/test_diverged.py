"""A loss or a gradient that is no number stops a run: one message, the last good state, and no finished run."""

from __future__ import annotations

import pytest
import torch
from tests.chain import chain_options

import mora
from mora.algo.sft import SFT
from mora.errors import InputError
from mora.files import read_json, read_lines
from mora.run.execute import execute
from mora.run.plan import plan


def command(root, steps):
    shared = [option for option in chain_options(root) if option.startswith(("paths.", "dataset.", "model."))]
    return [*shared, "algo=sft", "algo.epochs=null", f"algo.steps={steps}", "algo.batch_size=16", "algo.test_rows=8",
            "runtime.save_every=2"]  # fmt: skip


def run(root):
    overrides = command(root, 6)
    cfg = mora.compose(*overrides)
    stages = plan(cfg, overrides)
    execute(stages, cfg)
    return stages[-1]


@pytest.mark.parametrize("broken", ["loss", "gradient"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_run_that_diverges_stops_with_its_last_good_state(tmp_path, monkeypatch, undrawn, broken, value):
    loss, calls = SFT.loss, []

    def failing(self, module, rows, tokens):
        found = loss(self, module, rows, tokens)
        calls.append(1)
        if len(calls) == 4:  # one micro-batch a step: in step 4
            parameter = next(p for p in module.parameters() if p.requires_grad)
            return found * value if broken == "loss" else found + (parameter - parameter.detach()).sum() * value
        return found

    monkeypatch.setattr(SFT, "loss", failing)
    with pytest.raises(
        InputError, match=r"diverged at step 4 \(.* not finite\).*after step 2 .*Lower one of algo\.lr="
    ):
        run(tmp_path)
    (folder,) = tmp_path.glob("sft-*")
    status = read_json(folder / "status.json")
    assert (status["state"], status["step"], status["at"]) == ("diverged", 2, 4)
    assert [row["step"] for row in read_lines(folder / "metrics.jsonl")] == [1, 2, 3]
    assert not (folder / "model").exists()
    monkeypatch.setattr(SFT, "loss", loss)
    again = run(tmp_path)  # the same command goes on from the state that was kept
    assert again.finished and [row["step"] for row in read_lines(folder / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert torch.tensor([row["loss"] for row in read_lines(folder / "metrics.jsonl")]).isfinite().all()
