"""A quick look at a reward while it is trained: three numbers per objective on some held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mora.functional import pairs, risk
from mora.functional.calibration import calibration
from mora.functional.correlation import mean
from mora.functional.thinning import evenly
from mora.reward.scorer import Scorer
from mora.types import Row

CALIBRATION_BINS, LEVEL = 15, 0.95  # as in conf/evaluation/reward_model.yaml


def held_out(rows: Sequence[Row], objectives: Sequence[str], most: int) -> list[Row]:
    """At most ``most`` pairs that carry a label on one of ``objectives``, evenly spread over the file.

    The choice depends on the rows alone, so every measurement of a run is on the same pairs.
    """
    return evenly([row for row in rows if any(row.labels.get(name) is not None for name in objectives)], most)


def quick_quality(scorer: Scorer, rows: Sequence[Row], *, bins: int = CALIBRATION_BINS) -> dict[str, dict[str, Any]]:
    """Per objective that has labels on ``rows``: ``accuracy``, ``log_loss`` (nats), ``ece`` beside what it would be by
    chance (``ece_if_calibrated``), ``calibration_error`` without that, the ends of its interval, and ``n`` pairs.

    The definitions are those of ``tables/reward.json``: accuracy by the belief's mean, equal means half, tied labels
    left out (NaN when all are); log-loss and calibration by the kind's own likelihood.  Nothing random is drawn and a
    model in training mode is left in it.  No row gives an empty result.
    """
    if not rows:
        return {}
    belief, wins_0, wins_1 = scorer.pairs(
        [row.prompt for row in rows], *([row.responses[s] for row in rows] for s in (0, 1))
    )
    means = _numbers(risk.mean(belief))
    differences = means[len(rows) :] - means[: len(rows)]
    logs_0, logs_1 = _numbers(wins_0), _numbers(wins_1)
    found: dict[str, dict[str, Any]] = {}
    for column, name in enumerate(scorer.objectives):
        given = [row.labels.get(name) for row in rows]
        kept = [i for i, label in enumerate(given) if label is not None]
        if not kept:
            continue
        label = np.array([given[i] for i in kept], dtype=np.float64)
        credit = pairs.credits(differences[kept, column], label)
        prompts = [rows[i].prompt_id for i in kept]
        stated = calibration(np.exp(logs_1[kept, column]), label, prompts, bins=bins, level=LEVEL)
        low, high = stated["error"]["interval"] or (None, None)
        found[name] = {
            "accuracy": mean(credit[label != 0.5]),
            "log_loss": pairs.log_loss(logs_1[kept, column], logs_0[kept, column], label),
            "ece": stated["ece"],
            "ece_if_calibrated": stated["ece_if_calibrated"],
            "calibration_error": stated["error"]["value"],
            "calibration_low": low,
            "calibration_high": high,
            "n": len(kept),
        }
    return found


def _numbers(values: Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = values.double().cpu().numpy()
    return numbers
