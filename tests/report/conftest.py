"""Plausible tables of a run, for any number of objectives, without a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mora.files import write_json, write_lines, write_text
from mora.functional.conflicts import all_right, conflict_matrices
from mora.functional.pareto import (
    default_grid,
    hypervolume,
    non_dominated,
    spacing,
    sparsity,
)
from mora.functional.steering import inner_product, kendall_tau

NAMES = ("cure", "care", "brief", "warm", "exact", "plain")


def objectives_of(count: int) -> list[str]:
    return list(NAMES[:count])


def front_table(
    count: int, *, gold: bool = True, judge: str = "gold", smoke: bool = True, seed: int = 0
) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    preferences = default_grid(count)
    best = np.sqrt(preferences) * 0.55 + 0.4
    reference = np.full(count, 0.32) + 0.05 * generator.normal(size=count)
    reached = reference + 0.72 * (best - reference) + 0.015 * generator.normal(size=best.shape)
    believed = 2.4 * (reached - reference) + 0.05 * generator.normal(size=best.shape)
    points = [
        {
            "preference": preferences[p].tolist(),
            "gold": reached[p].tolist() if gold else None,
            "reward": believed[p].tolist(),
            "gold_stderr": (0.012 + 0.006 * generator.random(count)).tolist() if gold else None,
            "reward_stderr": (0.03 + 0.02 * generator.random(count)).tolist(),
            "kl": float(1.2 + 0.9 * preferences[p].max() + 0.1 * generator.random()),
            "kl_stderr": 0.05,
            "valid": 0.97 if gold else None,
            "ended": 0.99,
            "distinct": 0.98,
            "tokens": 12.4,
        }
        for p in range(len(preferences))
    ]
    low = {"gold": reference - 0.1, "reward": np.full(count, -0.2)}
    scores = {"gold": reached, "reward": believed} if gold else {"reward": believed}
    exact = best[non_dominated(best)]
    return {
        "run": f"panacea-garden-{count}",
        "model": "tiny",
        "smoke": smoke,
        "objectives": objectives_of(count),
        "scorers": {"gold": {"kind": "world"}, "reward": {"kind": "quantile", "run": "reward_model-1a2b"}},
        "judge": judge,
        "units": {"reward": "ref. std"},
        "seed": seed,
        "split": "test",
        "prompts": 64,
        "samples_per_prompt": 8,
        "reference_point": {
            judge: {
                "values": low[judge].tolist(),
                "rule": "mean of the reference policy minus 10 % of the pooled range",
            }
        },
        "points": points,
        "reference": points[0]
        | {"preference": None, "gold": reference.tolist() if gold else None, "reward": [0.0] * count, "kl": 0.0},
        "indicators": {s: _indicators(v, preferences, low[s]) for s, v in scores.items()},
        "world": {"front": exact.tolist(), "best": best.tolist(), "floor": [-0.1] * count} if gold else None,
    }


def _indicators(points: np.ndarray, preferences: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    return {
        "hypervolume": {
            "value": hypervolume(points, reference),
            "definition": "exact volume above the reference point z",
        },
        "inner_product": {"value": inner_product(points, preferences), "definition": "mean of <preference, score>"},
        "sparsity": {"value": sparsity(points), "definition": "mean squared distance of consecutive front points"},
        "spacing": {"value": spacing(points), "definition": "population deviation of nearest-neighbor distances"},
        "kendall_tau": {"value": kendall_tau(points, preferences).tolist(), "definition": "tau-b of weight and score"},
    }


def sample_rows(front: dict[str, Any], prompts: int = 3) -> list[dict[str, Any]]:
    generator = np.random.default_rng(1)
    animals, pests = ("cat", "dog", "hen"), ("aphids", "slugs", "mildew")
    rows = []
    for point in front["points"]:
        for prompt in range(prompts):
            gentle = "lay straw then " * (1 + prompt)
            rows.append(
                {
                    "preference": point["preference"],
                    "prompt": f"my rose has {pests[prompt]} . a {animals[prompt]} lives here . what now ?",
                    "response": f"{gentle}guard the {animals[prompt]} and feed the {animals[prompt]} .",
                    "gold": None
                    if point["gold"] is None
                    else (np.array(point["gold"]) + _noise(generator, point, 0.2)),
                    "reward": np.array(point["reward"]) + _noise(generator, point, 0.4),
                    "kl": 1.5,
                    "sample": 0,
                }
            )
    return [r | {k: r[k].tolist() for k in ("gold", "reward") if r[k] is not None} for r in rows]


def _noise(generator: np.random.Generator, point: dict[str, Any], scale: float) -> np.ndarray:
    return scale * generator.normal(size=len(point["preference"]))


def reward_table(count: int) -> dict[str, Any]:
    generator, names = np.random.default_rng(2), objectives_of(count)
    confidence = np.linspace(0.55, 0.95, 6)
    gold = generator.random((300, count))
    return {
        "objectives": names,
        "kind": "quantile",
        "accuracy": {
            o: {"value": 0.74 + 0.01 * i, "stderr": 0.012, "n": 1200, "bayes": 0.82} for i, o in enumerate(names)
        },
        "calibration": {
            o: {
                "ece": 0.03,
                "bins": [{"confidence": c, "accuracy": c - 0.02 * i - 0.02, "count": 200} for c in confidence.tolist()],
            }
            for i, o in enumerate(names)
        },
        "spread": {o: _hard_cases(i) for i, o in enumerate(names)},
        "conflicts": _conflicts(generator, names),
        "agreement": {
            o: np.stack([3 * gold[:, i] - 1.5 + 0.5 * generator.normal(size=300), gold[:, i]], 1).tolist()
            for i, o in enumerate(names)
        },
    }


def _hard_cases(place: int) -> dict[str, Any]:
    doubt = np.linspace(0.05, 0.95, 10)
    shared = {"count": 120, "true_spread": None}
    wrong = {"bins": 0.3 + 0.02 * place + 0 * doubt, "margin_bins": 0.5 - 0.45 * doubt}
    ranges = zip(doubt.tolist(), (2 * doubt).tolist(), strict=True)
    both = [{"spread": s, "margin": m, "calibration_error": 0.02 + 0.05 * s} | shared for s, m in ranges]
    return {
        name: [
            row | {"error_rate": e, "accuracy": 1 - e, "true_spread": 2 * row["spread"]}
            for row, e in zip(both, errors.tolist(), strict=True)
        ]
        for name, errors in wrong.items()
    } | {"true_spread_correlation": 0.25}


def _conflicts(generator: np.random.Generator, names: list[str]) -> dict[str, Any]:
    labels = generator.integers(0, 2, (400, len(names))).astype(float)
    margins = 2 * labels - 1 + generator.normal(size=labels.shape)
    right, _ = all_right(margins, labels)
    together = {"value": float(right.mean()), "stderr": 0.02, "n": 400, "by_labels": []}
    return {"objectives": names, "all_right": together, **conflict_matrices(margins, labels)}


def quality_rows(names: list[str]) -> list[dict[str, Any]]:
    measured = {"accuracy": 0.7, "log_loss": 0.6, "ece": 0.06, "calibration_error": 0.05, "n": 128}
    return [
        {
            "step": step,
            "quality": {o: measured | {"accuracy": 0.5 + step / 200 + 0.01 * i} for i, o in enumerate(names)},
        }
        for step in (20, 40, 60)
    ]


def metric_rows(names: list[str], steps: int = 80) -> list[dict[str, Any]]:
    generator, rows = np.random.default_rng(3), []
    for step in range(1, steps + 1):
        done, noise = step / steps, 0.06 * generator.normal(size=12)
        row = {"step": step, "kl": 2 * done**0.7 + noise[0], "entropy": 1.6 - 0.8 * done + noise[1]}
        row |= {f"reward/{o}": (0.8 + 0.1 * i) * done**0.5 + noise[i] for i, o in enumerate(names)}
        row |= {f"gold/{o}": 0.3 + (0.3 + 0.05 * i) * done**0.5 + 0.3 * noise[i] for i, o in enumerate(names)}
        row |= {f"steering/{o}": 0.7 * done + noise[i] for i, o in enumerate(names)}
        row |= {"loss/policy": -0.02 + noise[4] / 5, "loss/value": 0.5 * np.exp(-3 * done) + abs(noise[5])}
        row |= {"value/explained_variance": 0.7 * done + noise[6], "length": 13 - 2 * done + noise[7], "grad_norm": 1.0}
        row |= {"lr": 0.01 * (1 - done), "time/step": 0.8, "gain": 0.6 * done + noise[8], "policy/clipped": 0.1}
        rows.append(row)
    return rows


def write_run(
    root: Path, count: int, *, reward: bool = True, curves: bool = True, **options: Any
) -> tuple[Path, list[tuple[str, Path]]]:
    """A run folder with all tables, and its upstream stages; without ``curves`` it is quick to draw."""
    names, run = objectives_of(count), root / "runs" / f"panacea-garden-{count}-0123456789"
    front = front_table(count, **options)
    write_json(run / "tables" / "front.json", front)
    write_lines(run / "tables" / "samples.jsonl", sample_rows(front))
    write_lines(run / "metrics.jsonl", metric_rows(names) if curves else [])
    write_text(run / "config.yaml", "algo:\n  kl_coef: 0.05\n  note: <b>bold</b>\n")
    write_text(run / "diff.yaml", "algo.kl_coef: 0.1 -> 0.05\n")
    sft, model = root / "runs" / "sft-garden-aaaa", root / "runs" / "reward-model-bbbb"
    losses = [{"step": s, "loss": 3 * 0.97**s + 1, "lr": 0.004} for s in range(1, 30)]
    write_lines(sft / "metrics.jsonl", losses if curves else [])
    stages = [("sft", sft)]
    if reward:
        write_json(model / "tables" / "reward.json", reward_table(count))
        rows = [{"step": s} | {f"accuracy/{o}": 0.5 + 0.25 * s / 60 for o in names} for s in range(1, 61)]
        rows = [r | {"loss/all": 0.7 - 0.003 * r["step"]} for r in rows]
        write_lines(model / "metrics.jsonl", rows if curves else [])
        write_lines(model / "tables" / "quality.jsonl", quality_rows(names) if curves else [])
        stages.append(("reward model", model))
    return run, [*stages, ("panacea", run)]


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The generators of tables, for tests."""
    return SimpleNamespace(
        front=front_table,
        samples=sample_rows,
        reward=reward_table,
        metrics=metric_rows,
        quality=quality_rows,
        run=write_run,
    )
