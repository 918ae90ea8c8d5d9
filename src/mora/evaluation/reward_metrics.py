"""The numbers by which reward models are compared: where each stands in ``reward.json``, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Table = Mapping[str, Any]  # reward.json
Getter = Callable[[Table, str], float | None]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number per run and objective; ``of`` reads it, None where the run has none."""

    name: str
    title: str
    definition: str
    better: Literal["higher", "lower", ""]
    of: Getter


def _at(*path: str) -> Getter:
    """Reads ``table[path[0]][objective][path[1]]...``; None where a part is missing or null."""

    def read(table: Table, objective: str) -> float | None:
        part: Any = table.get(path[0], {}).get(objective)
        for key in path[1:]:
            part = None if part is None else part.get(key)
        return None if part is None else float(part)

    return read


METRICS = (
    Metric(
        name="accuracy",
        title="accuracy",
        definition="share of decided pairs whose better answer has the higher mean, equal means half",
        better="higher",
        of=_at("accuracy", "value"),
    ),
    Metric(
        name="share_of_bayes",
        title="share of Bayes",
        definition="expected accuracy over all labels that could be drawn, by the best possible, where a world knows",
        better="higher",
        of=_at("accuracy", "share_of_bayes"),
    ),
    Metric(
        name="log_loss",
        title="log-loss",
        definition="nats per pair, of the model's own probability that answer 1 is better",
        better="lower",
        of=_at("log_loss"),
    ),
    Metric(
        name="log_loss_above_best",
        title="log-loss above the best",
        definition="nats of expected log-loss above that of the true probabilities, where a world knows",
        better="lower",
        of=_at("log_loss_above_best", "value"),
    ),
    Metric(
        name="log_loss_tempered",
        title="log-loss after a temperature",
        definition="the same after one temperature, fitted on one half of the prompts for the other",
        better="lower",
        of=_at("temperature", "log_loss"),
    ),
    Metric(
        name="brier",
        title="Brier score",
        definition="mean squared error of that probability",
        better="lower",
        of=_at("brier"),
    ),
    Metric(
        name="ece",
        title="ECE",
        definition="expected calibration error over bins of equally many pairs by confidence",
        better="lower",
        of=_at("calibration", "ece"),
    ),
    Metric(
        name="ece_if_calibrated",
        title="ECE if calibrated",
        definition="what the ECE of these probabilities would be by the noise of labels alone",
        better="",
        of=_at("calibration", "ece_if_calibrated"),
    ),
    Metric(
        name="calibration_error",
        title="calibration error",
        definition="root mean squared calibration error over these bins, without the noise of labels; interval over "
        "prompts, for these models; seeds by the mean of squares",
        better="lower",
        of=_at("calibration", "error", "value"),
    ),
    Metric(
        name="ece_tempered",
        title="ECE after a temperature",
        definition="the same after that temperature",
        better="lower",
        of=_at("temperature", "calibration", "ece"),
    ),
    Metric(
        name="error_rate",
        title="error rate",
        definition="1 - accuracy: the area below a risk-coverage curve whose doubt says nothing",
        better="lower",
        of=_at("risk_coverage", "error_rate"),
    ),
    Metric(
        name="aurc_margin",
        title="AURC by margin",
        definition="area below the risk-coverage curve when small margins are left out first",
        better="lower",
        of=_at("risk_coverage", "margin", "aurc"),
    ),
    Metric(
        name="aurc_spread",
        title="AURC by spread",
        definition="the same when large spreads of the belief are left out first; none where it has no spread",
        better="lower",
        of=_at("risk_coverage", "spread", "aurc"),
    ),
    Metric(
        name="auc",
        title="pooled AUC",
        definition="chance that a better answer outscores a worse one of any prompt, equal scores half",
        better="higher",
        of=_at("separation", "auc"),
    ),
    Metric(
        name="d_pooled",
        title="d, pooled",
        definition="Cohen's d of better and worse answers over all prompts, in deviations of scores",
        better="higher",
        of=_at("separation", "d_pooled"),
    ),
    Metric(
        name="d_paired",
        title="d, paired",
        definition="mean of the margins by their standard deviation (d_z)",
        better="higher",
        of=_at("separation", "d_paired"),
    ),
    Metric(
        name="gold_pearson",
        title="correlation with gold",
        definition="Pearson's, of scores and gold scores over answers, where a world knows",
        better="higher",
        of=_at("gold", "pearson"),
    ),
    Metric(
        name="gold_order",
        title="order of gold",
        definition="share of pairs ordered as their gold scores are, where a world knows",
        better="higher",
        of=_at("gold", "order"),
    ),
    Metric(
        name="length_answers",
        title="length, answers",
        definition="Spearman's correlation of scores with characters over all answers",
        better="",
        of=_at("length", "answers", "score"),
    ),
    Metric(
        name="length_pairs",
        title="length, pairs",
        definition="the same of their differences within pairs",
        better="",
        of=_at("length", "pairs", "score"),
    ),
)
