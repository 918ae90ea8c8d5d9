"""How far one model reaches in the readable world: gold and learned rewards, several seeds, against what is possible.

    python benchmarks/steerability.py runs=runs seeds=0,1,2 out=steerability.json

Each run is an ordinary one; finished runs are reused.  Settings are the defaults of the YAML files, KL weight,
preferences and reference point included, and the same random numbers serve all preferences.  Prints a row per run.
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

COLUMNS = (
    "utility share", "worst share", "HV SFT", "HV", "HV optimum", "HV share", "HV exact, 11", "HV exact, dense",
    "tau", "KL", "KL optimum", "valid", "ESS min", "held-out prompts", "minutes",
)  # fmt: skip


def call(command: str, *overrides: str) -> None:
    """Run a command of mora; its output goes to stderr."""
    subprocess.run([sys.executable, "-m", f"mora.{command}", *overrides], check=True, stdout=sys.stderr)


def run_of(runs: Path, seed: int, reward: str) -> Path:
    """The finished panacea run of a seed and reward."""
    for folder in sorted(runs.glob("panacea-*")):
        identity = json.loads((folder / "identity.json").read_text())
        gold = "gold" in identity["reward"]["_target_"]
        if identity["seed"] == seed and gold == (reward == "gold") and (folder / "tables" / "front.json").is_file():
            return folder
    raise SystemExit(f"no finished run of seed {seed} and reward {reward} below {runs}")


def row(folder: Path, minutes: float) -> dict[str, float]:
    """The figures of one run."""
    front = json.loads((folder / "tables" / "front.json").read_text())
    summary = json.loads((folder / "tables" / "optimum.json").read_text())["summary"]
    volumes = summary["hypervolume"]
    values: list[Any] = [
        summary["utility_share_mean"],
        summary["utility_share_worst"],
        volumes["reference"],
        volumes["reached"],
        volumes["optimum"],
        summary["hypervolume_share"],
        volumes["exact_at_preferences"],
        volumes["exact_dense"],
        min(front["indicators"]["gold"]["kendall_tau"]["value"]),
        summary["kl_mean"],
        summary["optimum_kl_mean"],
        statistics.mean(point["valid"] for point in front["points"]),
        summary["ess_min"],
        front["prompts"] if front["split"] == "test" else 0,
        minutes,
    ]
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    """Train, evaluate and print."""
    arguments = dict(argument.split("=", 1) for argument in sys.argv[1:])
    runs, seeds = Path(arguments.get("runs", "runs")), arguments.get("seeds", "0,1,2").split(",")
    found: dict[str, list[dict[str, float]]] = {"gold": [], "qr": []}
    for seed in map(int, seeds):
        for reward in found:
            begin = time.monotonic()
            call("train", f"seed={seed}", f"reward={reward}", f"paths.runs={runs}")
            minutes = (time.monotonic() - begin) / 60
            folder = run_of(runs, seed, reward)
            call("evaluate", f"run={folder}", "evaluation=optimum")
            found[reward].append(row(folder, minutes))
    print(f"{made_by()}\n")
    print("| reward | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 1))
    for reward, rows in found.items():
        for values in rows:
            print(f"| {reward} | " + " | ".join(f"{v:.3f}" for v in values.values()) + " |")
        means = {c: statistics.mean(r[c] for r in rows) for c in COLUMNS}
        spreads = {c: statistics.stdev(r[c] for r in rows) if len(rows) > 1 else 0.0 for c in COLUMNS}
        print(f"| {reward}, mean (sd) | " + " | ".join(f"{means[c]:.3f} ({spreads[c]:.3f})" for c in COLUMNS) + " |")
    if "out" in arguments:
        Path(arguments["out"]).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
