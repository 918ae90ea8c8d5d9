"""Plausible tables of a comparison, for any number of objectives, methods and seeds, without a model."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mora.files import write_json, write_lines, write_text
from mora.functional.comparison import attainment_bands, reference_sweep
from mora.functional.pareto import default_grid, hypervolume, non_dominated
from mora.records.compare import Comparison
from mora.records.read import read_record
from mora.report.compare import write_comparison

OBJECTIVES = ("cure", "care", "brief", "warm", "exact", "plain")
METHODS = ("row", "batch", "linear", "sft")
LEVELS = (0.025, 0.5, 0.975)
SPENT = ("generated_tokens", "trained_tokens", "forward_passes", "peak_memory_gib", "seconds")


def _reached(grid: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    """Scores (P, M) of a steered method: more weight, more score, at the expense of the others."""
    center = 1 / grid.shape[1]
    return strength * (0.8 + 1.6 * (np.sqrt(grid) - np.sqrt(center))) + 0.03 * generator.normal(size=grid.shape)


def _indicator(value: float, spread: float, definition: str) -> dict[str, Any]:
    return {"value": value, "interval": [value - spread, value + spread], "definition": definition}


def _method(
    index: int, name: str, grid: np.ndarray, z: np.ndarray, seeds: int, budgets: np.ndarray, granted: np.ndarray
) -> dict[str, Any]:
    generator, (count, width) = np.random.default_rng(index), grid.shape
    steered = name != "sft"
    strength = 1.0 - 0.12 * index
    by_seed = np.stack([_reached(grid, strength, generator) for _ in range(seeds)])
    if not steered:
        by_seed = np.repeat(by_seed.mean((1,), keepdims=True), count, 1)
    scores = by_seed.mean(0)
    noise = generator.normal(size=(60, 1 if not steered else count, width))
    fronts = scores + 0.05 * noise
    kl = (0.2 if not steered else 2.4 - 0.4 * index) * (0.8 + 0.5 * grid.max(1)) if steered else np.full(count, 0.2)
    share = np.minimum(1.0, granted / kl)[:, None]
    kept = non_dominated(scores)
    win = 0.5 + 0.4 * np.tanh((scores * grid).sum(1))
    points = [
        {
            "preference": grid[p].tolist(),
            "scores": scores[p].tolist(),
            "margins": np.full(width, 0.05).tolist(),
            "unscaled": (0.3 + 0.2 * scores[p]).tolist(),
            "at_matched_kl": (share[p] * scores[p]).tolist(),
            "kl": float(kl[p]),
            "kl_margin": 0.06,
            "utility": float(scores[p] @ grid[p]),
            "utility_margin": 0.04,
            "win_rate": float(win[p]),
            "win_rate_low": float(win[p]) * 0.98,
            "win_rate_high": float(win[p]) * 0.98 + 0.02,
            "win_rates": (0.5 + 0.3 * np.tanh(scores[p])).tolist(),
            "worst_objective": float(scores[p].min() - 0.3),
            "valid": 0.97,
            "ended": 0.99,
            "tokens": 12.4,
            "dominated": p not in kept and steered,
        }
        for p in range(count)
    ]
    volume, utility = hypervolume(scores, z), float((scores * grid).sum(1).mean())
    matched = share * scores
    curve: dict[str, list[Any]] = {}
    for budget in budgets:
        spent = np.minimum(1.0, budget / kl)[:, None] * scores
        for key, value in (
            ("hypervolume", hypervolume(spent, z)),
            ("inner_product", float((spent * grid).sum(1).mean())),
        ):
            curve.setdefault(key, []).append(value)
            curve.setdefault(f"{key}_interval", []).append([value * 0.95 - 0.01, value * 1.05 + 0.01])
    spends = dict(zip(SPENT, (1_234_567 + index, 7_654_321, 98_765, 11.25, None), strict=True))
    return {
        "name": name,
        "runs": [f"panacea-tiny-garden-{name}-{s}" for s in range(seeds)],
        "seeds": list(range(seeds)),
        "algo": "panacea" if steered else "sft",
        "model": "tiny",
        "smoke": True,
        "steered": steered,
        "settings": {"preference": name, "algo.kl_coef": 0.05 * (index + 1), "risk": {"kind": "mean"}},
        "trained_by": "reward_model-1a2b" if steered else None,
        "judge_trained_it": False,
        "covers": "new prompts and newly trained seeds" if seeds > 1 else "new prompts, these trained policies",
        "points": points,
        "reference": {"scores": [0.0] * width, "unscaled": [0.3] * width, "worst_objective": -0.5, "valid": 0.98,
                      "tokens": 12.1, "ended": 0.995},
        "fronts_by_seed": by_seed.tolist(),
        "band": {"levels": list(LEVELS), "surfaces": [s.tolist() for s in attainment_bands(fronts, LEVELS)]}
        if width == 2 else None,
        "indicators": {
            "hypervolume": _indicator(volume, 0.05 * volume, "exact volume above z"),
            "inner_product": _indicator(utility, 0.03, "mean of <preference, score>"),
            "kendall_tau": {"value": [0.9 - 0.1 * index] * width, "definition": "tau-b of weight and score"},
            "sparsity": {"value": 0.034, "definition": "mean squared gap of neighbors"},
            "kl": _indicator(float(kl.mean()), 0.05, "mean over preferences, nats"),
        },
        "at_matched_kl": {
            "hypervolume": _indicator(hypervolume(matched, z), 0.04, "at the budget"),
            "inner_product": _indicator(float((matched * grid).sum(1).mean()), 0.03, "at the budget"),
        },
        "kl_curve": curve,
        "budget": {
            "run": spends,
            "chain": spends | {"trained_tokens": 9_999_999},
            "stages": [{"run": "sft-tiny-garden-aaaa", "algo": "sft", **spends},
                       {"run": f"panacea-{name}-0", "algo": "panacea", **spends}],
        },
    }  # fmt: skip


def _verdict(gap: float, width: float) -> dict[str, Any]:
    decided = "A > B" if gap > width else "B > A" if -gap > width else "undecided"
    p = 0.0004 if decided != "undecided" else 0.213
    return {"difference": gap, "interval": [gap - width, gap + width], "p": p, "p_holm": min(1.0, 4 * p),
            "verdict": decided}  # fmt: skip


def _pairs(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for a, b in combinations(methods, 2):
        parts = {}
        for part, key in (("verdicts", "indicators"), ("at_matched_kl", "at_matched_kl")):
            values = {i: [m[key][i]["value"] for m in (a, b)] for i in ("hypervolume", "inner_product")}
            parts[part] = {i: _verdict(x - y, 0.13) for i, (x, y) in values.items()}
        said = f"{a['name']} against {b['name']}: {parts['verdicts']['hypervolume']['verdict']}."
        found.append({"a": a["name"], "b": b["name"], "covers": a["covers"], **parts, "by_reference_point": "A",
                      "said": said})  # fmt: skip
    return found


def compare_table(count: int, *, names: tuple[str, ...] = METHODS, seeds: int = 1) -> dict[str, Any]:
    """``compare.json`` over ``count`` objectives; a method of the name sft is not steered."""
    grid, z = default_grid(count), np.full(count, -1.2)
    granted, budgets = np.full(len(grid), 1.1), np.linspace(0, 3.2, 17)
    methods = [_method(i, name, grid, z, seeds, budgets, granted) for i, name in enumerate(names)]
    fronts = [np.array([p["scores"] for p in m["points"]]) for m in methods]
    sweep = reference_sweep(fronts, reach=1.0, steps=10)
    best = 1.3 + 2.0 * (np.sqrt(grid) - np.sqrt(1 / count))
    return {
        "comparison": "compare-garden-1a2b3c4d",
        "objectives": list(OBJECTIVES[:count]),
        "preferences": grid.tolist(),
        "dataset": {"name": "garden", "prompts_sha256": "0badc0de" * 8},
        "split": "test",
        "prompts": 64,
        "samples_per_prompt": 8,
        "seed": 0,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0},
        "level": 0.95,
        "resamples": 1000,
        "judge": {"name": "gold", "kind": "true scores", "unit": "standard deviations of the reference policy"},
        "standardization": {"mean": [0.3] * count, "std": [0.2] * count, "answers": 512,
                            "rule": "all reference answers"},
        "reference_point": {"values": z.tolist(), "unscaled": (0.3 + 0.2 * z).tolist(), "margin": 0.1,
                            "rule": "the worst mean score, less 10 % of the range"},
        "kl_budget": {"values": granted.tolist(), "rule": "1.1 nats at every preference"},
        "methods": methods,
        "kl_budgets": budgets.tolist(),
        "sweep": {"reach": 1.0, "distances": sweep.distances.tolist(),
                  "reference_points": sweep.reference_points.tolist(),
                  "hypervolumes": dict(zip(names, sweep.hypervolumes.T.tolist(), strict=True))},
        "pairs": (pairs := _pairs(methods)),
        "family": 4 * len(pairs),
        "world": {"front": best[non_dominated(best)].tolist(), "best": best.tolist()},
        "warnings": [],
    }  # fmt: skip


def answer_rows(table: dict[str, Any], prompts: int = 2) -> list[dict[str, Any]]:
    """``answers.jsonl`` of a table, at the vertices and the center."""
    width, rows = len(table["objectives"]), []
    shown = dict.fromkeys(map(tuple, [*np.eye(width).tolist(), np.full(width, 1 / width).tolist()]))
    for prompt in range(prompts):
        asked = f"my rose has aphids, number {prompt} . what now ?"
        for method in table["methods"]:
            scores, run = [0.1 * i for i in range(width)], method["runs"][0]
            start = {"method": f"reference policy of {method['name']}", "run": run, "preference": None, "prompt": asked}
            rows.append(start | {"response": "guard the cat .", "scores": scores, "kl": 0.0})
            for preference in shown:
                answer = f"{method['name']} says lay straw {' and straw' * (prompt + 1)} at {preference[0]:.2f} ."
                rows.append({"method": method["name"], "run": run, "preference": list(preference), "prompt": asked,
                             "response": answer, "scores": scores, "kl": 1.5})  # fmt: skip
    return rows


def read(root: Path, table: dict[str, Any]) -> Comparison:
    """The comparison of a table, by way of its file."""
    write_json(root / "compare.json", table)
    return read_record(root / "compare.json", Comparison)


def write_tables(folder: Path, table: dict[str, Any]) -> Path:
    """A comparison folder with its tables; the folder."""
    write_json(folder / "tables" / "compare.json", table)
    write_lines(folder / "tables" / "answers.jsonl", answer_rows(table))
    write_text(folder / "tables" / "points.csv", "method\n")
    return folder


def page_of(folder: Path, table: dict[str, Any]) -> str:
    """The page of a table."""
    return write_comparison(write_tables(folder, table)).read_text(encoding="utf-8")
