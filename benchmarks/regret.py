"""Regret to truth in the oracle world: what shares a preference, the class limit, and a model that was never steered.

    python benchmarks/regret.py runs=runs seeds=0,1,2 out=regret.json

Each run is an ordinary one of ``experiment=oracle``, with an equal number of tokens; finished runs are reused.  Prints
a row per run and the regret at each preference, means over seeds.
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
from mora.stages import plan

KINDS = {
    "panacea, preference per row": ("experiment=oracle", "preference=row"),
    "panacea, per group": ("experiment=oracle", "preference=group"),
    "panacea, per batch": ("experiment=oracle", "preference=batch"),
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
    """What a run reached, against gold."""
    table = json.loads((folder / "tables" / "regret.json").read_text())["scorers"]["gold"]
    points = [(point["preference"], point["relative_regret"]) for point in table["points"]]
    return {**table["summary"], "points": points, "seconds": seconds(folder)}


def main() -> None:
    """Train, measure and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    runs, seeds = named.get("runs", "runs"), named.get("seeds", "0,1,2").split(",")
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (*KINDS, UNSTEERED)}
    for seed in seeds:
        for kind, overrides in KINDS.items():
            command = [*overrides, f"seed={seed}", f"paths.runs={runs}"]
            stages = plan(mora.compose(*command), command)
            begin = time.monotonic()
            call("train", *command)
            found[kind].append(measured(stages[-1].path) | {"minutes": (time.monotonic() - begin) / 60})
        fine_tuned = stages[0].path
        coefficient = stages[-1].config["algo"]["kl_coef"]
        call("evaluate", f"run={fine_tuned}", "evaluation=regret", f"evaluation.kl_coef={coefficient}")
        found[UNSTEERED].append(measured(fine_tuned) | {"minutes": 0.0})
    columns = ("relative_regret_mean", "relative_regret_worst", "kl_mean", "optimum_kl_mean", "seconds")
    print(f"{made_by()}\n")
    print("| run | seed | regret, mean | worst | KL | KL of the optimum | seconds of training |\n|" + " --- |" * 7)
    for kind, rows in found.items():
        for seed, row in zip(seeds, rows, strict=True):
            mean, worst, kl, best, spent = (row[column] for column in columns)
            print(f"| {kind} | {seed} | {mean:.2%} | {worst:.2%} | {kl:.2f} | {best:.2f} | {spent:.0f} |")
        mean, worst = (statistics.mean(row[c] for row in rows) for c in columns[:2])
        print(f"| {kind} | mean | {mean:.2%} | {worst:.2%} | | | |")
    grid = [preference for preference, _ in found[UNSTEERED][0]["points"]]
    print("\n| preference | " + " | ".join(found) + " |\n|" + " --- |" * (len(found) + 1))
    for place, preference in enumerate(grid):
        cells = [statistics.mean(row["points"][place][1] for row in rows) for rows in found.values()]
        weights = ", ".join(f"{w:.2f}" for w in preference)
        print(f"| {weights} | " + " | ".join(f"{cell:.2%}" for cell in cells) + " |")
    if "out" in named:
        Path(named["out"]).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
