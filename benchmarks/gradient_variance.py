"""Noise of the policy gradient when a row, a group of samples or a whole batch shares a preference, at equal tokens.

    python benchmarks/gradient_variance.py runs=runs seeds=0,1,2 rollouts=64 out=variance.json

In the oracle world, at the reference policy and at the trained policy of ``experiment=oracle`` (which is trained where
it is not there), draws rollouts of the same size and differentiates the shipped loss at ratio 1, without a critic and
with advantages as they are.  Prints ``E |g - E g|^2 / |E g|^2`` over the parameters of the adapter; E g, which is the
same for all, is the mean over the rollouts of all three.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from made_by import made_by
from torch import Tensor

import mora
from mora.model.policy import Policy
from mora.run.build import build
from mora.run.execute import context_of
from mora.run.plan import plan
from mora.runtime.actor import standardized_scorer, trainable
from mora.runtime.collector import RolloutCollector
from mora.runtime.folder import RunFolder

UNITS = ("row", "group", "batch")
FIRST = 10_000  # number of the first rollout: other draws than those of training


def gradients(unit: str, seed: int, runs: str, count: int, trained: Path | None) -> Tensor:
    """Gradients (count, parameters) of as many rollouts."""
    command = ["experiment=oracle", f"preference={unit}", f"seed={seed}", f"paths.runs={runs}"]
    command.append("algo.normalize_advantages=none")
    stage = plan(mora.compose(*command), command)[-1]
    with TemporaryDirectory() as scratch:
        runtime = build(stage.config["runtime"])
        folder = RunFolder.open(Path(scratch), "run", {}, config="", overrides="", diff="", runtime=runtime)
        context = context_of(stage, folder, runtime)
        algo = build(stage.config["algo"], _partial_=True)(context=context)
        model, tokenizer = context.starting_model(frozen=True)
        encoder = context.encoder(tokenizer)
        prompts, samples = algo.reference_prompts, algo.reference_samples
        scorer = standardized_scorer(context, model, encoder, prompts=prompts, samples=samples)
        policy = trainable(context, model, critic_width=algo.critic_width)
        if trained is not None:
            policy.adapter.load(trained / "policy")
        collector = RolloutCollector(context, algo.rollout, scorer, encoder, minibatches=1)
        found = []
        for number in range(count):
            rollout = collector.collect(policy, collector.rows(number), FIRST + number)
            algo.credit(rollout)
            loss, _ = algo.loss(policy, rollout)
            found.append(flat(policy, loss))
    return torch.stack(found)


def flat(policy: Policy, loss: Tensor) -> Tensor:
    """The gradient over all parameters of the adapter."""
    weights = [*policy.adapter.factors(), *policy.adapter.singular_values()]
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, weights)]).double()


def main() -> None:
    """Measure and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    runs, seeds = named.get("runs", "runs"), [int(s) for s in named.get("seeds", "0,1,2").split(",")]
    count = int(named.get("rollouts", "64"))
    table = []
    for seed in seeds:
        command = ["experiment=oracle", f"seed={seed}", f"paths.runs={runs}"]
        subprocess.run([sys.executable, "-m", "mora.train", *command], check=True, stdout=sys.stderr)
        run = plan(mora.compose(*command), command)[-1].path
        for name, trained in (("reference", None), ("trained", run)):
            drawn = {unit: gradients(unit, seed, runs, count, trained) for unit in UNITS}
            mean = torch.stack([one.mean(0) for one in drawn.values()]).mean(0)
            noise = {
                unit: float((one - one.mean(0)).square().sum(1).mean() * count / (count - 1) / mean.square().sum())
                for unit, one in drawn.items()
            }
            table.append({"seed": seed, "policy": name, **noise})
    print(f"{made_by()}\n")
    print("| policy | seed | row | group | batch |\n|" + " --- |" * 5)
    for row in sorted(table, key=lambda row: str(row["policy"])):
        print(f"| {row['policy']} | {row['seed']} | " + " | ".join(f"{row[unit]:.2f}" for unit in UNITS) + " |")
    if "out" in named:
        Path(named["out"]).write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
