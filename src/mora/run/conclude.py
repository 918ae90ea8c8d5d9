"""What a command says at its start and end: the plan, a small table of each record, where the report is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from mora.errors import InputError, visible
from mora.evaluation.words import winner
from mora.files import read_object
from mora.records.compare import Comparison
from mora.records.front import SPLIT_NAMES, Front, Indicator
from mora.records.quality import Calibration, Estimate, RewardQuality
from mora.records.read import Floats, read_record
from mora.records.regret import Constraint, Judged, Regrets, Summary
from mora.records.rewards import RewardComparison, Value
from mora.records.safety import Safety
from mora.records.sections import Benchmark
from mora.records.verdicts import JUDGED, Verdict
from mora.run.constraint_lines import floors_lines, safety_lines, weights_label
from mora.run.plan import MEASURED, Stage, describe
from mora.runtime.console import is_main_process
from mora.settings.identity import flatten

NO_TRACKER = "mora.runtime.track.NoTracker"


def announce(stages: Sequence[Stage], *, fresh: bool) -> None:
    """Print the plan, or that there is nothing to do; only the first process speaks."""
    if not is_main_process():
        return
    if stages[-1].finished and not fresh:
        print(f"already done: {stages[-1].path} (runtime.fresh=true starts anew)")
        tracker = str(stages[-1].config["tracker"]["_target_"])
        if tracker != NO_TRACKER and tracker != _tracked(stages[-1].path):
            print("tracker: nothing is sent of a finished run; its metrics are in metrics.jsonl")
        return
    print(visible("\n".join(describe(stages))), flush=True)


def _tracked(run: Path) -> str:
    """The tracker that a run was made with."""
    return str(OmegaConf.select(OmegaConf.load(run / "config.yaml"), "tracker._target_"))


def conclude(folder: Path, only: str | None = None) -> None:
    """Print the result of a finished run, or of its tables ``only`` one; only the first process speaks."""
    if not is_main_process():
        return
    measured = folder / "tables" / MEASURED
    others = [name for name in (read_object(measured) if measured.is_file() else {}) if name not in SHOWN]
    for name, (kind, lines) in [*SHOWN.items(), *((name, (None, plain_lines)) for name in others)]:
        table = folder / "tables" / f"{name}.json"
        if table.is_file() and only in (None, name):
            print(visible("\n" + "\n".join(_said(table, kind, lines))))
    page = folder / "report" / "index.html"
    print(f"\n{'report' if page.is_file() else 'run'}: {page if page.is_file() else folder}")


def _said(path: Path, kind: type | None, lines: Callable[[Any], list[str]]) -> list[str]:
    """A stored table as text.  Raises InputError for one that lacks what it should have."""
    table = read_object(path) if kind is None else read_record(path, kind)
    try:
        return lines(table)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration) as error:
        raise InputError(f"{path} is no such table: {error!r}; measure the run again with mora.evaluate") from error


def plain_lines(table: dict[str, Any]) -> list[str]:
    """Any table as text: a line for each value that is no list, under its key, or its keys with dots between."""
    values = {key: value for key, value in flatten(table).items() if not isinstance(value, list)}
    wide = max(map(len, values), default=0)
    return [f"{key:<{wide}}  {f'{value:.4g}' if isinstance(value, float) else value}" for key, value in values.items()]


def front_lines(front: Front) -> list[str]:
    """The front as text: a line per preference, then the indicators of the judge."""
    judge, names = front.judge, front.objectives
    start = [front.start] if front.start else []
    shares = ("ended", "valid") if any(np.isfinite(point.valid) for point in start) else ("ended",)
    lines = [
        f"scores by {judge} ({front.units[judge]}), {_asked(front)} x {front.samples_per_prompt}",
        " ".join(["preference".ljust(6 * len(names)), *(f"{n:>10}" for n in names), f"{'KL':>8}",
                  *(f"{n:>8}" for n in shares)]),
    ]  # fmt: skip
    for point in [*start, *front.points]:
        label = "reference" if point.preference is None else weights_label(point.preference)
        cells = [label.ljust(max(6 * len(names), 10)), *(f"{v:10.3f}" for v in getattr(point, judge))]
        lines.append(" ".join([*cells, f"{point.kl:8.2f}", *(f"{getattr(point, name):8.1%}" for name in shares)]))
    found = front.indicators[judge]
    z = ", ".join(f"{v:g}" for v in front.reference_point[judge].values)
    between = ""
    if len(front.points) > 1:
        tau = ", ".join(f"{v:.2f}" for v in np.atleast_1d(found["kendall_tau"].value))
        sparsity, spacing = (f"{name} {found[name].value:.4f}" for name in ("sparsity", "spacing"))
        between = f"   {sparsity}   {spacing}   Kendall tau {tau}"
    volume = found["hypervolume"]
    lines.append(f"hypervolume {_sure(volume)} (above {z})   inner product {_sure(found['inner_product'])}{between}")
    if volume.interval is not None:
        level = f"{100 * volume.level:g} %"
        lines.append(f"[{level} intervals over prompts, for this trained policy: not over seeds or machines]")
    return lines


def _asked(table: Front | Comparison) -> str:
    """How many prompts were asked, and whether training had seen them."""
    return f"{table.prompts} {SPLIT_NAMES[table.split]}"


def _sure(entry: Estimate | Indicator | Value) -> str:
    """A value with its interval, where there is one; a dash where there is no value."""
    return _between(float(entry.value), entry.interval) if np.isfinite(entry.value) else "-"


def _between(value: float, interval: Floats | None) -> str:
    return f"{value:z.3f}" + ("" if interval is None else f" [{interval[0]:z.3f}, {interval[1]:z.3f}]")


def regret_lines(table: Regrets) -> list[str]:
    """The regret to truth as text: a line per preference by the first scorer, a closing line for each."""
    wide = max(6 * len(table.objectives), 10)
    head = f"{'U ref.':>9} {'U policy':>9} {'U optimum':>9} {'regret':>7} {'KL':>8} {'KL opt.':>8}"
    lines = []
    for split, found in table.splits.items():
        asked = f"{len(found.prompts)} {SPLIT_NAMES[split]}"
        first, judged = next(iter(found.scorers.items()))
        lines += [
            f"regret to truth by {first} (reference std), kl_coef {table.kl_coef:g}; enumerated, not sampled: "
            f"{asked} x {found.responses:,} responses",
            f"{'preference':<{wide}} {head}",
            *_regret_points(judged, wide),
            *(_regret_summary(f"{name}, {asked}", one) for name, one in found.scorers.items()),
        ]
    return lines


def _regret_points(judged: Judged, wide: int) -> list[str]:
    lines = []
    for point in judged.points:
        utility, kl = point.utility, point.kl
        worth = "".join(f" {one:z9.3f}" for one in (utility.reference, utility.policy, utility.optimum))
        spent = f"{point.relative_regret:z7.1%} {kl.policy:z8.2f} {kl.optimum:z8.2f}"
        lines.append(f"{weights_label(point.preference):<{wide}}{worth} {spent}")
        lines += [_floor(name, one) for name, one in point.constraints.items()]
    return lines


def _floor(name: str, one: Constraint) -> str:
    return (
        f"  floor {name} {one.floor:z.3f}: the policy expects {one.floor + one.policy:z.3f} "
        f"({'kept' if one.policy >= 0 else 'missed'} by {abs(one.policy):.3f}), the reference "
        f"{one.floor + one.reference:z.3f}; multiplier of the optimum {one.multiplier:.3f}"
    )


def _regret_summary(name: str, judged: Judged) -> str:
    def share(regrets: Floats, summary: Summary) -> str:
        each = summary.relative_regret_worst_prompt
        prompt = f", worst prompt {100 * each:.1f} %" if np.isfinite(each) else ""
        return f"mean {100 * regrets.mean():.1f} %, worst {100 * regrets.max():.1f} %{prompt}"

    limit = ""
    if judged.limited is not None and judged.limit is not None:
        limit = f" (class limit: {share(judged.limit, judged.limited.summary)})"
    return f"regret by {name}: {share(judged.regret, judged.summary)}{limit}"


def optimum_lines(table: dict[str, Any]) -> list[str]:
    """How much of the KL-regularized optimum was reached, as text."""
    found = table["summary"]
    volumes = found["hypervolume"]
    return [
        f"of the KL-regularized optimum by gold, kl_coef {table['kl_coef']:g}; {table['prompts']} "
        f"{SPLIT_NAMES[table['split']]} x {table['samples']:,} answers of the reference policy",
        f"gain in utility  mean {found['utility_share_mean']:z.1%}, worst {found['utility_share_worst']:z.1%}",
        f"hypervolume      {volumes['reached']:.3f} of {volumes['optimum']:.3f}, {found['hypervolume_share']:.1%}",
        f"KL               {found['kl_mean']:.2f} of {found['optimum_kl_mean']:.2f} nats",
        f"answers          {table['ended']:.1%} of the reference policy's ended",
    ]


def reward_lines(table: RewardQuality) -> list[str]:
    """The quality of a reward model as text."""
    lines = []
    for name in [name for name in table.objectives if name in table.accuracy]:
        accuracy, tempered = table.accuracy[name], table.temperature.get(name)
        log_loss, stated = table.log_loss[name], _stated(table.calibration[name])
        said = _between(accuracy.value, accuracy.interval) if np.isfinite(accuracy.value) else "-"
        lines.append(f"{name:<14} accuracy {said}  log-loss {log_loss:.3f}  {stated}")
        if tempered:
            lines.append(f"{'':<14} with a temperature: {_stated(tempered.calibration)}")
        above, sign = table.log_loss_above_best.get(name), table.sign.get(name)
        if above:
            share = _between(accuracy.share_of_bayes, accuracy.share_interval)
            best = f"{share} of the best accuracy {accuracy.bayes:.3f}"
            lines.append(f"{'':<14} over all labels: {best}, log-loss {_sure(above)} above the best")
        lines += [f"{'':<14} sign {sign.value:.3f} of {sign.n} marked answers"] if sign else []
    conflicts = table.conflicts
    if conflicts and len(conflicts.objectives) > 1 and np.isfinite(conflicts.all_right.value):
        together = conflicts.all_right
        right = _between(together.value, together.interval)
        lines.append(f"all objectives that label a pair right: {right} of {together.n} pairs")
    return lines


def _stated(stated: Calibration) -> str:
    """Calibration: the ECE, what noise alone makes of it, and the error without that noise."""
    by_chance = f" ({stated.ece_if_calibrated:.3f} if calibrated)" if np.isfinite(stated.ece_if_calibrated) else ""
    without = f"  calibration error {_sure(stated.error)}" if np.isfinite(stated.error.value) else ""
    return f"ECE {stated.ece:.3f}{by_chance}{without}"


def section_lines(table: Benchmark) -> list[str]:
    """The scores of a benchmark as text: remarks, a line per section, the final score."""
    lines = [*(f"! {note}" for note in table.notes), f"{table.path}: {table.rows} rows, judged by {table.judge.said}"]
    lines.append(f"{'section':<24}{'rows':>7}{'tie is wrong':>22}{'tie shares':>22}")
    for name, entry in [*((one.section, one) for one in table.sections), ("mean of sections", table.final)]:
        strict, shared = _between(entry.strict, entry.strict_interval), _between(entry.shared, entry.shared_interval)
        lines.append(f"{name:<24}{entry.n:>7}{strict:>22}{shared:>22}")
    lines.append(f"[{table.level:.0%} intervals over prompts; none where there is one prompt]")
    return lines


def compare_lines(table: Comparison) -> list[str]:
    """A comparison as text: warnings, a line per method, a line per pair."""
    z = ", ".join(f"{value:.2f}" for value in table.reference_point)
    columns = {"hypervolume": "hypervolume", "inner_product": "utility", "win_rate": "win rate", "kl": "KL"}
    wide = max(map(len, table.names))
    lines = [
        *(f"! {warning}" for warning in table.warnings),
        f"judged by {table.judge.name} ({table.judge.unit}), {_asked(table)} x "
        f"{table.samples_per_prompt}; hypervolume above {z}",
        "method".ljust(wide) + " seeds" + "".join(f"{title:>23}" for title in columns.values()),
    ]
    for method in table.methods:
        cells = "".join(f"{_sure(method.indicators[name]):>23}" for name in columns)
        lines.append(f"{method.name:<{wide}} {len(method.seeds):>5}{cells}")
    for pair in table.pairs:
        lines.append(f"\n{pair.a} against {pair.b} ({pair.covers})")
        for part, where in ((pair.verdicts, ""), (pair.at_matched_kl, " at matched KL")):
            for name in JUDGED if part else ():
                lines.append(_difference(f"{columns[name] + where:<27}", pair, getattr(part, name)))
        lines.append(f"  {'over reference points':<27}{winner(pair.a, pair.b, str(pair.by_reference_point))}")
    return lines


def reward_comparison_lines(table: RewardComparison) -> list[str]:
    """A comparison of reward models as text: warnings, a line per objective and method, a line per difference."""
    columns = {"accuracy": 23, "log_loss": 23, "ece": 8, "ece_if_calibrated": 12,
               "calibration_error": 23, "aurc_margin": 12, "aurc_spread": 12, "auc": 8, "d_paired": 8}  # fmt: skip
    heads = {"ece_if_calibrated": "by chance", "calibration_error": "calibration error",
             "log_loss": "log-loss", "ece": "ECE", "aurc_margin": "AURC margin", "aurc_spread": "AURC spread",
             "auc": "AUC", "d_paired": "d_z"}  # fmt: skip
    wide = max(map(len, [*table.names, *table.objectives]))
    lines = [*(f"! {warning}" for warning in table.warnings)]
    lines.append(f"the same {table.held_out} held-out pairs of {table.prompts} prompts for all")
    for objective in table.objectives:
        bayes = table.bayes[objective]
        head = "".join(f"{heads.get(name, name):>{width}}" for name, width in columns.items())
        best = f"   (best possible {bayes:.3f})" if np.isfinite(bayes) else ""
        lines.append(f"\n{objective:<{wide}} seeds{head}{best}")
        for method in table.methods:
            cells = "".join(f"{_sure(method.metrics[objective][name]):>{width}}" for name, width in columns.items())
            lines.append(f"{method.name:<{wide}} {len(method.seeds):>5}{cells}")
    for pair in table.pairs:
        lines.append(f"\n{pair.a} against {pair.b} ({pair.covers})")
        for objective, entries in pair.verdicts.items():
            for name, entry in entries.items():
                label = f"{heads.get(name, name)} of {objective}"
                lines.append(_difference(f"{label:<{wide + 13}}", pair, entry))
    return lines


def _difference(label: str, pair: Any, entry: Verdict) -> str:
    low, high = entry.interval
    gap = f"{entry.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"  {label}{gap:<28}p {entry.p_holm:.3f}  {winner(pair.a, pair.b, entry.verdict)}"


SHOWN: dict[str, tuple[type | None, Callable[[Any], list[str]]]] = {
    "front": (Front, front_lines),
    "regret": (Regrets, regret_lines),
    "safety": (Safety, safety_lines),
    "floors": (None, floors_lines),
    "optimum": (None, optimum_lines),
    "reward": (RewardQuality, reward_lines),
    "sections": (Benchmark, section_lines),
    "compare": (Comparison, compare_lines),
    "reward_comparison": (RewardComparison, reward_comparison_lines),
}  # by the name of the table: the record that it is read as, and that record as text
