"""Reward kinds on the same pairs: are they right, calibrated, and does their spread find errors?

    python benchmarks/reward_kinds.py runs=runs seeds=0,1,2 jobs=2 out=kinds.json
    python benchmarks/reward_kinds.py kinds='scalar;qr' dataset=jsonl dataset.path=FILE 'objectives.names=[truthful]'

Each row is an ordinary run of ``algo=reward_model``; finished ones are reused.  Further arguments are overrides of all.
Prints, per objective, means (and standard deviations) over seeds: accuracy, and where a world knows the probability of
each label the share of the best possible accuracy and the log-loss above the best, over all labels that could have been
drawn; log-loss; ECE, what it would be were the model calibrated, and the calibration error without that, before and
after one temperature; the area under the risk-coverage curve
when pairs are left out by small margin and by large spread beside the error rate, and Spearman's correlation of spread
with the annotators' disagreement.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from made_by import made_by
from side_by_side import arguments, run_all, table

KINDS = {
    "scalar": ("reward=scalar",),
    "scalar, token-wise": ("reward=scalar", "algo.token_wise=true"),
    "scalar, margin 2 x strength": ("reward=scalar", "reward.strength=margin", "reward.margin=2"),
    "qr": ("reward=qr",),
    "qr, comonotone": ("reward=qr", "reward.coupling=comonotone"),
    "gaussian, logistic": ("reward=gaussian",),
    "gaussian, probit": ("reward=gaussian", "reward.link=probit", "reward.scale_penalty=0.01"),
    "categorical": ("reward=categorical",),
    "rating": ("reward=rating",),
    "cost": ("reward=cost", "reward.threshold=0.3"),
    "cost, qr": ("reward=cost", "reward@reward.base=qr", "reward.threshold=0.3"),
    "gda": ("reward=gda",),
    "gda, pooled": ("reward=gda", "reward.form=pooled"),
    "scalar, lora": ("reward=scalar", "algo.sharing=lora"),
    "scalar, separate": ("reward=scalar", "algo.sharing=separate"),
    "ensemble of 4": ("reward=ensemble",),
    "ensemble of 4, lora": ("reward=ensemble", "reward.sharing=lora"),
    "ensemble of 4, heads": ("reward=ensemble", "reward.sharing=trunk"),
    "pseudo, of the ensemble": ("reward=pseudo",),
}
COLUMNS = (
    "accuracy",
    "share",
    "log-loss",
    "above best",
    "ECE",
    "by chance",
    "calibration error",
    "with T",
    "error rate",
    "AURC margin",
    "AURC spread",
    "spread ~ true",
)


def columns(found: dict[str, Any], name: str) -> dict[str, float | None]:
    """The numbers of one objective of ``reward.json``."""
    accuracy, risk = found["accuracy"][name], found["risk_coverage"][name]
    tempered = found["temperature"][name]
    return {
        "accuracy": accuracy["value"],
        "share": accuracy.get("share_of_bayes"),
        "log-loss": found["log_loss"][name],
        "above best": (found["log_loss_above_best"][name] or {}).get("value"),
        "ECE": found["calibration"][name]["ece"],
        "by chance": found["calibration"][name]["ece_if_calibrated"],
        "calibration error": found["calibration"][name]["error"]["value"],
        "with T": None if tempered is None else tempered["calibration"]["error"]["value"],
        "error rate": risk["error_rate"],
        "AURC margin": risk["margin"]["aurc"],
        "AURC spread": risk["spread"]["aurc"] if risk["spread"] else None,
        "spread ~ true": found["spread"][name]["true_spread_correlation"],
    }


def cell(values: list[float]) -> str:
    """Mean, and in brackets the standard deviation where there are several."""
    if not values:
        return ""
    return f"{statistics.mean(values):.3f}" + (f" ({statistics.stdev(values):.3f})" if len(values) > 1 else "")


def main() -> None:
    """Train, measure and print."""
    own, more = arguments({"runs": "runs", "seeds": "0", "jobs": "1", "out": "", "kinds": ";".join(KINDS)})
    commands = {
        (kind, seed): ["algo=reward_model", *KINDS[kind], f"seed={seed}", f"paths.runs={own['runs']}", *more]
        for seed in own["seeds"].split(",")
        for kind in own["kinds"].split(";")
    }
    run_all(commands.values(), int(own["jobs"]))
    tables: dict[str, list[dict[str, Any]]] = {}
    for (kind, _), command in commands.items():
        tables.setdefault(kind, []).append(table(command, "reward"))
    print(made_by())
    for name in next(iter(tables.values()))[0]["accuracy"]:
        print(f"\n| {name} | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 1))
        for kind, found in tables.items():
            rows = [columns(one, name) for one in found]
            cells = [cell([row[column] for row in rows if row[column] is not None]) for column in COLUMNS]
            print(f"| {kind} | " + " | ".join(cells) + " |")
    if own["out"]:
        Path(own["out"]).write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
