"""Fronts by the rules of the world of policies that were trained on each kind of reward, read at each risk.

    python benchmarks/reward_fronts.py runs=runs seeds=0,1,2 jobs=2 out=fronts.json

Each cell is an ordinary run of ``algo=panacea``; the reward models below are those of ``reward_kinds.py`` with the same
arguments, and are reused.  Further arguments are overrides of all.  Prints means (and standard deviations) over seeds:
hypervolume above the worst score, utility realized at the preferences asked for, both by the rules of the world, the
learned reward's own mean utility in reference deviations, and KL to the reference policy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from made_by import made_by
from reward_kinds import KINDS, cell
from side_by_side import arguments, run_all, table

CELLS = {
    ("scalar", "mean"): (),
    ("qr", "mean"): (),
    ("qr", "cvar .25"): ("risk=cvar", "risk.alpha=0.25"),
    ("qr", "entropic .15"): ("risk=entropic", "risk.beta=0.15"),
    ("gaussian, logistic", "mean"): (),
    ("categorical", "mean"): (),
    ("rating", "mean"): (),
    ("cost", "mean"): (),
    ("gda", "mean"): (),
    ("ensemble of 4", "mean"): (),
    ("ensemble of 4", "minimum"): ("risk=minimum",),
    ("pseudo, of the ensemble", "mean"): (),
}
COLUMNS = ("hypervolume", "utility", "by the reward itself", "KL")


def numbers(front: dict[str, Any]) -> dict[str, float]:
    """What a row of the table says of one front."""
    points = front["points"]
    weights = np.array([point["preference"] for point in points])
    own = np.array([point["reward"] for point in points])
    return {
        "hypervolume": front["indicators"]["gold"]["hypervolume"]["value"],
        "utility": front["indicators"]["gold"]["inner_product"]["value"],
        "by the reward itself": float((weights * own).sum(1).mean()),
        "KL": float(np.mean([point["kl"] for point in points])),
    }


def main() -> None:
    """Train, measure and print."""
    own, more = arguments({"runs": "runs", "seeds": "0", "jobs": "1", "out": ""})
    seeds = own["seeds"].split(",")
    commands = {
        (kind, risk, seed): ["algo=panacea", *KINDS[kind], *extra, f"seed={seed}", f"paths.runs={own['runs']}", *more]
        for seed in seeds
        for (kind, risk), extra in CELLS.items()
    }
    run_all(commands.values(), int(own["jobs"]))
    rows: dict[str, list[dict[str, float]]] = {}
    for (kind, risk, _), command in commands.items():
        rows.setdefault(f"{kind} | {risk}", []).append(numbers(table(command, "front")))
    print(f"{made_by()}\n")
    print("| reward | risk | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 2))
    for name, found in rows.items():
        print(f"| {name} | " + " | ".join(cell([row[column] for row in found]) for column in COLUMNS) + " |")
    if own["out"]:
        Path(own["out"]).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
