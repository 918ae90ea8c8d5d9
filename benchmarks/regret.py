"""Regret to truth in the oracle world: what shares a preference, the class limit, and a model that was never steered.

    python benchmarks/regret.py runs=runs seeds=0,1,2 out=regret.json

    python benchmarks/regret.py dataset=oracle_unequal

Each run is an ordinary one of ``experiment=oracle``, with an equal number of tokens; finished runs are reused.  Prints
a row per run and split of the prompts, and the regret at each preference on the prompts of training, means over seeds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from made_by import made_by

import mora
from mora.run.plan import plan

KINDS = {
    "panacea, preference per row": ("experiment=oracle", "preference=row"),
    "panacea, per group": ("experiment=oracle", "preference=group"),
    "panacea, per batch": ("experiment=oracle", "preference=batch"),
    "rloo, preference per row": ("experiment=oracle_rloo", "preference=row"),
    "rloo, per group": ("experiment=oracle_rloo", "preference=group"),
    "exact gradients (class limit)": ("experiment=oracle_exact",),
}
UNSTEERED = "sft"


def call(command: str, *overrides: str) -> None:
    """Run a command of mora; its output goes to stderr."""
    subprocess.run([sys.executable, "-m", f"mora.{command}", *overrides], check=True, stdout=sys.stderr)


def seconds(folder: Path) -> float:
    """Time that a run spent in its steps."""
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    return sum(json.loads(row)["time/step"] for row in rows)


def measured(folder: Path) -> dict[str, Any]:
    """What a run reached on the prompts of each split, against gold."""
    splits = json.loads((folder / "tables" / "regret.json").read_text())["splits"]
    found: dict[str, Any] = {"seconds": seconds(folder)}
    for split, table in splits.items():
        judged = table["scorers"]["gold"]
        points = [(point["preference"], point["relative_regret"]) for point in judged["points"]]
        found[split] = {**judged["summary"], "prompts": len(table["prompts"]), "points": points}
    return found


def main() -> None:
    """Train, measure and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    runs, seeds = named.get("runs", "runs"), named.get("seeds", "0,1,2").split(",")
    dataset = f"dataset={named.get('dataset', 'oracle')}"
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (*KINDS, UNSTEERED)}
    for seed in seeds:
        for kind, overrides in KINDS.items():
            command = [*overrides, dataset, f"seed={seed}", f"paths.runs={runs}"]
            stages = plan(mora.compose(*command), command)
            begin = time.monotonic()
            call("train", *command)
            found[kind].append(measured(stages[-1].path) | {"minutes": (time.monotonic() - begin) / 60})
        fine_tuned = stages[0].path
        coefficient = stages[-1].config["algo"]["kl_coef"]
        call("evaluate", f"run={fine_tuned}", "evaluation=regret", f"evaluation.kl_coef={coefficient}")
        found[UNSTEERED].append(measured(fine_tuned) | {"minutes": 0.0})
    print(f"{made_by()}\n")
    columns = ("relative_regret_mean", "relative_regret_worst", "relative_regret_worst_prompt", "kl_mean",
               "optimum_kl_mean")  # fmt: skip
    splits = [split for split in ("train", "test") if split in found[UNSTEERED][0]]
    print("| run | prompts | seed | regret, mean | worst preference | worst prompt | KL | KL of the optimum | "
          "seconds of training |\n|" + " --- |" * 9)  # fmt: skip
    for kind, rows in found.items():
        for split in splits:
            where = f"{kind} | {split} ({rows[0][split]['prompts']})"
            for seed, row in zip(seeds, rows, strict=True):
                mean, worst, prompt, kl, best = (row[split][column] for column in columns)
                cells = f"{mean:.2%} | {worst:.2%} | {prompt:.2%} | {kl:.2f} | {best:.2f} | {row['seconds']:.0f}"
                print(f"| {where} | {seed} | {cells} |")
            mean, worst, prompt = (statistics.mean(row[split][c] for row in rows) for c in columns[:3])
            print(f"| {where} | mean | {mean:.2%} | {worst:.2%} | {prompt:.2%} | | | |")
    grid = [preference for preference, _ in found[UNSTEERED][0]["train"]["points"]]
    print("\n| preference | " + " | ".join(found) + " |\n|" + " --- |" * (len(found) + 1))
    for place, preference in enumerate(grid):
        cells = [statistics.mean(row["train"]["points"][place][1] for row in rows) for rows in found.values()]
        weights = ", ".join(f"{w:.2f}" for w in preference)
        print(f"| {weights} | " + " | ".join(f"{cell:.2%}" for cell in cells) + " |")
    if "out" in named:
        Path(named["out"]).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
