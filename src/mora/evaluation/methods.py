"""One method of a comparison: its points, indicators, bands and curves as a part of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.evaluation import statistics
from mora.evaluation.indicators import indicators
from mora.evaluation.judged import Columns, Judged, Unit
from mora.evaluation.pairing import Origin
from mora.evaluation.statistics import Fixed
from mora.evaluation.study import Study, entry
from mora.functional.comparison import attainment_bands
from mora.functional.pareto import non_dominated
from mora.functional.stats import share_of_margin

Floats = NDArray[np.float64]
BAND = (0.025, 0.5, 0.975)  # shares of resampled fronts whose attainment surfaces bound a band
_LENGTHS = ("tokens", "ended")
BAND_STEPS = 200  # lattice of the first objective on which a band is drawn


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is compared: one policy, or the seeds of one.  ``facts`` go into the table as they are."""

    name: str
    seeds: Sequence[Judged]
    origins: Sequence[Origin]  # one per seed
    facts: Mapping[str, Any]


def method_table(
    number: int, method: Method, study: Study, fixed: Fixed, unit: Unit, budgets: Sequence[float], *, plain: bool
) -> dict[str, Any]:
    """All that ``compare.json`` says of method ``number`` of the study; nothing at matched KL unless ``plain``.

    Answers that were drawn at another temperature, or from a part of the tokens, are not the policy's own: no
    weights make a mixture of them.
    """
    columns, mean = fixed.columns, study.means(number)
    return {
        "name": method.name,
        **method.facts,
        "steered": all(one.answers.steered for one in method.seeds),
        "covers": study.covers(number),
        "points": _points(number, method, study, fixed, unit, plain),
        "reference": _reference(method, mean, columns, unit),
        "fronts_by_seed": study.by_seed(number)[..., columns.scores].tolist(),
        "band": _band(study.fronts(number).resampled[..., columns.scores]),
        "indicators": _indicators(number, study, fixed),
        "at_matched_kl": _at_matched_kl(number, study, fixed) if plain else None,
        "effective_answers": float(statistics.effective(mean, fixed).min()) if plain else None,
        "kl_curve": _curve(number, study, fixed, budgets) if plain else None,
    }


def _at_matched_kl(number: int, study: Study, fixed: Fixed) -> dict[str, Any]:
    return {
        name: {**entry(study.interval(number, f"{name} at matched KL", statistic)), "definition": definition}
        for name, (statistic, definition) in statistics.at_budget(fixed, fixed.budget).items()
    }


def _curve(number: int, study: Study, fixed: Fixed, budgets: Sequence[float]) -> dict[str, Any]:
    """Indicators as the KL budget grows, the same budget at every preference."""
    curve: dict[str, Any] = {}
    for budget in budgets:
        for name, (statistic, _) in statistics.at_budget(fixed, budget).items():
            found = entry(study.interval(number, f"{name} at {budget}", statistic))
            curve.setdefault(name, []).append(found["value"])
            curve.setdefault(f"{name}_interval", []).append(found["interval"])
    return curve


def _points(number: int, method: Method, study: Study, fixed: Fixed, unit: Unit, plain: bool) -> list[dict[str, Any]]:
    """A row per preference; a margin is half the width of the interval of a mean.  That of a share stays in [0, 1]."""
    columns, mean = fixed.columns, study.means(number)
    scores = mean[:, columns.scores]
    margins = study.margins(number, lambda cells: cells[..., columns.measured])
    utility_margins = study.margins(number, lambda cells: (cells[..., columns.scores] * fixed.grid).sum(-1))
    won = [
        share_of_margin(float(share), float(margin), study.prompts, study.level)
        for share, margin in zip(mean[:, columns.win], margins[:, columns.win], strict=True)
    ]
    matched = statistics.matched(mean, fixed, fixed.budget)
    best = scores[non_dominated(scores)]
    tokens, ended = (
        np.mean([vars(one.answers)[name][1:].mean((1, 2)) for one in method.seeds], axis=0) for name in _LENGTHS
    )
    valid = _valid(method, slice(1, None))
    return [
        {
            "preference": preference.tolist(),
            "scores": scores[p].tolist(),
            "margins": margins[p, columns.scores].tolist(),
            "unscaled": unit.undone(scores[p]).tolist(),
            "at_matched_kl": matched[p].tolist() if plain else None,
            "kl": float(mean[p, columns.kl]),
            "kl_margin": float(margins[p, columns.kl]),
            "utility": float(scores[p] @ preference),
            "utility_margin": float(utility_margins[p]),
            "win_rate": float(mean[p, columns.win]),
            **dict(zip(("win_rate_low", "win_rate_high"), won[p], strict=True)),
            "win_rates": mean[p, columns.wins].tolist(),
            "worst_objective": float(mean[p, columns.worst]),
            "valid": None if valid is None else float(valid[p]),
            "tokens": float(tokens[p]),
            "ended": float(ended[p]),
            "dominated": not bool((scores[p] == best).all(-1).any()),
        }
        for p, preference in enumerate(fixed.grid)
    ]


def _valid(method: Method, places: slice) -> Floats | None:
    shares = [None if v is None else v[places].mean((1, 2)) for v in (one.answers.valid for one in method.seeds)]
    return None if any(share is None for share in shares) else np.mean(shares, axis=0)  # type: ignore[arg-type]


def _reference(method: Method, mean: Floats, columns: Columns, unit: Unit) -> dict[str, Any]:
    valid = _valid(method, slice(0, 1))
    scores = mean[0, columns.reference]
    return {
        "scores": scores.tolist(),
        "unscaled": unit.undone(scores).tolist(),
        "worst_objective": float(np.mean([unit(one.scores[0]).min(-1).mean() for one in method.seeds])),
        "valid": None if valid is None else float(valid[0]),
        **{name: float(np.mean([vars(one.answers)[name][0].mean() for one in method.seeds])) for name in _LENGTHS},
    }


def _band(fronts: Floats) -> dict[str, Any] | None:
    """Attainment surfaces of resampled fronts (D, P, 2), their first objective cut down to a lattice."""
    if fronts.shape[-1] != 2:
        return None
    low, high = fronts[..., 0].min(), fronts[..., 0].max()
    step = max(high - low, 1e-12) / BAND_STEPS
    cut = np.stack([low + step * np.floor((fronts[..., 0] - low) / step), fronts[..., 1]], axis=-1)
    return {"levels": list(BAND), "surfaces": [surface.tolist() for surface in attainment_bands(cut, BAND)]}


def _indicators(number: int, study: Study, fixed: Fixed) -> dict[str, Any]:
    table = indicators(study.means(number)[:, fixed.columns.scores].tolist(), fixed.grid, fixed.z.tolist())
    for name, (statistic, definition) in statistics.smooth(fixed).items():
        found = entry(study.interval(number, name, statistic))
        table[name] = table.get(name, {}) | {"definition": definition} | found
    return table
