"""Reward kinds on the same pairs: are they right, calibrated, and does their spread find errors?

    python benchmarks/reward_kinds.py runs=runs seeds=0,1,2 out=kinds.json
    python benchmarks/reward_kinds.py dataset=jsonl dataset.path=pairs.jsonl 'objectives.names=[truthful]'

Each row is an ordinary run of ``algo=reward_model``; finished ones are reused.  Further arguments are overrides of all.
Prints, per objective, means over seeds: accuracy (and its share of the best possible where a world knows it), log-loss,
calibration error before and after one temperature, the area under the risk-coverage curve when pairs are left out by
small margin and by large spread, and the rank correlation of spread with the annotators' disagreement over its bins.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

import mora
from mora.stages import plan

KINDS = {
    "scalar": ("reward=scalar",),
    "qr": ("reward=qr",),
    "qr, comonotone": ("reward=qr", "reward.coupling=comonotone"),
    "gaussian, logistic": ("reward=gaussian",),
    "gaussian, probit": ("reward=gaussian", "reward.link=probit", "reward.scale_penalty=0.01"),
    "gda": ("reward=gda",),
    "gda, pooled": ("reward=gda", "reward.form=pooled"),
}
COLUMNS = ("accuracy", "share", "log-loss", "ECE", "with T", "AURC margin", "AURC spread", "spread ~ true")


def columns(table: dict[str, Any], name: str) -> dict[str, float | None]:
    """The numbers of one objective of ``reward.json``."""
    accuracy, found, bins = table["accuracy"][name], table["risk_coverage"][name], table["spread"][name]["bins"]
    known = len(bins) > 2 and bins[0]["true_spread"] is not None
    order = float(spearmanr([b["spread"] for b in bins], [b["true_spread"] for b in bins]).statistic) if known else None
    return {
        "accuracy": accuracy["value"],
        "share": accuracy.get("share_of_bayes"),
        "log-loss": table["log_loss"][name],
        "ECE": table["calibration"][name]["ece"],
        "with T": table["temperature"][name]["calibration"]["ece"],
        "AURC margin": found["margin"]["aurc"],
        "AURC spread": found["spread"]["aurc"] if found["spread"] else None,
        "spread ~ true": order,
    }


def main() -> None:
    """Train, measure and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    runs, seeds, out = named.pop("runs", "runs"), named.pop("seeds", "0").split(","), named.pop("out", None)
    more = [f"{key}={value}" for key, value in named.items()]
    tables: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for kind, overrides in KINDS.items():
            command = ["algo=reward_model", *overrides, f"seed={seed}", f"paths.runs={runs}", *more]
            subprocess.run([sys.executable, "-m", "mora.train", *command], check=True, stdout=sys.stderr)
            path = plan(mora.compose(*command), command)[-1].path / "tables" / "reward.json"
            tables.setdefault(kind, []).append(json.loads(path.read_text(encoding="utf-8")))
    for name in tables["scalar"][0]["accuracy"]:
        print(f"\n| {name} | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 1))
        for kind, found in tables.items():
            rows = [columns(table, name) for table in found]
            known = {column: [row[column] for row in rows if row[column] is not None] for column in COLUMNS}
            cells = [f"{statistics.mean(values):.3f}" if values else "" for values in known.values()]
            print(f"| {kind} | " + " | ".join(cells) + " |")
    if out:
        Path(out).write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
