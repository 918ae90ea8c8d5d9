"""What a command says at its start and end: the plan, a small table, where the report is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mora.errors import InputError, visible
from mora.evaluation.words import winner
from mora.files import read_object
from mora.records.front import SPLIT_NAMES
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
    shown = {
        "front": front_lines,
        "regret": regret_lines,
        "optimum": optimum_lines,
        "reward": reward_lines,
        "sections": section_lines,
        "compare": compare_lines,
        "reward_comparison": reward_comparison_lines,
    }
    measured = folder / "tables" / MEASURED
    others = [name for name in (read_object(measured) if measured.is_file() else {}) if name not in shown]
    for name, lines in [*shown.items(), *((name, plain_lines) for name in others)]:
        table = folder / "tables" / f"{name}.json"
        if table.is_file() and only in (None, name):
            print(visible("\n" + "\n".join(_said(table, lines))))
    page = folder / "report" / "index.html"
    print(f"\n{'report' if page.is_file() else 'run'}: {page if page.is_file() else folder}")


def _said(path: Path, lines: Callable[[dict[str, Any]], list[str]]) -> list[str]:
    """A stored table as text.  Raises InputError for one that lacks what it should have."""
    table = read_object(path)
    try:
        return lines(table)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration) as error:
        raise InputError(f"{path} is no such table: {error!r}; measure the run again with mora.evaluate") from error


def plain_lines(table: dict[str, Any]) -> list[str]:
    """Any table as text: a line for each value that is no list, under its key, or its keys with dots between."""
    values = {key: value for key, value in flatten(table).items() if not isinstance(value, list)}
    wide = max(map(len, values), default=0)
    return [f"{key:<{wide}}  {f'{value:.4g}' if isinstance(value, float) else value}" for key, value in values.items()]


def front_lines(table: dict[str, Any]) -> list[str]:
    """The front as text: a line per preference, then the indicators of the judge."""
    judge, names = table["judge"], table["objectives"]
    valid = table["reference"].get("valid") is not None
    head = ["preference".ljust(6 * len(names)), *(f"{n:>10}" for n in names), f"{'KL':>8}", f"{'ended':>8}"]
    head += [f"{'valid':>8}"] if valid else []
    lines = [
        f"scores by {judge} ({table['units'][judge]}), {_asked(table)} x {table['samples_per_prompt']}",
        " ".join(head),
    ]
    for point in [table["reference"], *table["points"]]:
        weights = point["preference"]
        label = "reference" if weights is None else " ".join(f"{w:.2f}" for w in weights)
        cells = [label.ljust(max(6 * len(names), 10)), *(f"{v:10.3f}" for v in point[judge]), f"{point['kl']:8.2f}"]
        cells += [f"{point[name]:8.1%}" for name in (("ended", "valid") if valid else ("ended",))]
        lines.append(" ".join(cells))
    found = table["indicators"][judge]
    z = ", ".join(f"{v:g}" for v in table["reference_point"][judge]["values"])
    tau = ", ".join(f"{v:.2f}" for v in found["kendall_tau"]["value"])
    between = (
        f"   sparsity {found['sparsity']['value']:.4f}   spacing {found['spacing']['value']:.4f}   Kendall tau {tau}"
        if len(table["points"]) > 1
        else ""
    )
    lines.append(
        f"hypervolume {_sure(found['hypervolume'])} (above {z})   inner product {_sure(found['inner_product'])}"
        + between
    )
    if found["hypervolume"].get("interval"):
        level = found["hypervolume"]["level"]
        lines.append(f"[{100 * level:g} % intervals over prompts, for this trained policy: not over seeds or machines]")
    return lines


def _asked(table: dict[str, Any]) -> str:
    """How many prompts were asked, and whether training had seen them."""
    return f"{table['prompts']} {SPLIT_NAMES[table['split']]}"


def _sure(entry: dict[str, Any]) -> str:
    """A value with its interval, where there is one."""
    between = entry.get("interval")
    return f"{entry['value']:z.3f}" + (f" [{between[0]:z.3f}, {between[1]:z.3f}]" if between else "")


def regret_lines(table: dict[str, Any]) -> list[str]:
    """The regret to truth as text: a line per preference by the first scorer, a closing line for each."""
    wide = max(6 * len(table["objectives"]), 10)
    head = f"{'U ref.':>9} {'U policy':>9} {'U optimum':>9} {'regret':>7} {'KL':>8} {'KL opt.':>8}"
    lines = []
    for split, found in table["splits"].items():
        asked = f"{len(found['prompts'])} {SPLIT_NAMES[split]}"
        first = next(iter(found["scorers"]))
        lines += [
            f"regret to truth by {first} (reference std), kl_coef {table['kl_coef']:g}; enumerated, not sampled: "
            f"{asked} x {found['responses']:,} responses",
            f"{'preference':<{wide}} {head}",
            *_regret_points(found["scorers"][first]["points"], wide),
            *(_regret_summary(f"{name}, {asked}", judged) for name, judged in found["scorers"].items()),
        ]
    return lines


def _regret_points(points: Sequence[dict[str, Any]], wide: int) -> list[str]:
    lines = []
    for point in points:
        utility, kl = point["utility"], point["kl"]
        lines.append(
            " ".join(f"{w:.2f}" for w in point["preference"]).ljust(wide)
            + "".join(f" {utility[who]:z9.3f}" for who in ("reference", "policy", "optimum"))
            + f" {point['relative_regret']:z7.1%} {kl['policy']:z8.2f} {kl['optimum']:z8.2f}"
        )
        lines += [
            f"  floor {name} {one['floor']:z.3f}: the policy expects {one['floor'] + one['policy']:z.3f}"
            f" ({'kept' if one['policy'] >= 0 else 'missed'} by {abs(one['policy']):.3f}), the reference "
            f"{one['floor'] + one['reference']:z.3f}; multiplier of the optimum {one['multiplier']:.3f}"
            for name, one in point.get("constraints", {}).items()
        ]
    return lines


def _regret_summary(name: str, judged: dict[str, Any]) -> str:
    def share(summary: dict[str, float]) -> str:
        each = summary["relative_regret_worst_prompt"]
        return (
            f"mean {100 * summary['relative_regret_mean']:.1f} %, worst {100 * summary['relative_regret_worst']:.1f} %"
        ) + ("" if each is None else f", worst prompt {100 * each:.1f} %")

    limit = f" (class limit: {share(judged['limit']['summary'])})" if "limit" in judged else ""
    return f"regret by {name}: {share(judged['summary'])}{limit}"


def optimum_lines(table: dict[str, Any]) -> list[str]:
    """How much of the KL-regularized optimum was reached, as text."""
    found = table["summary"]
    volumes = found["hypervolume"]
    return [
        f"of the KL-regularized optimum by gold, kl_coef {table['kl_coef']:g}; {_asked(table)} x "
        f"{table['samples']:,} answers of the reference policy",
        f"gain in utility  mean {found['utility_share_mean']:z.1%}, worst {found['utility_share_worst']:z.1%}",
        f"hypervolume      {volumes['reached']:.3f} of {volumes['optimum']:.3f}, {found['hypervolume_share']:.1%}",
        f"KL               {found['kl_mean']:.2f} of {found['optimum_kl_mean']:.2f} nats",
        f"answers          {table['ended']:.1%} of the reference policy's ended",
    ]


def reward_lines(table: dict[str, Any]) -> list[str]:
    """The quality of a reward model as text."""
    lines = []
    for name in [name for name in table["objectives"] if name in table["accuracy"]]:
        accuracy, tempered = table["accuracy"][name], table["temperature"][name]
        lines.append(
            f"{name:<14} accuracy {_sure(accuracy) if accuracy['value'] is not None else '-'}"
            f"  log-loss {table['log_loss'][name]:.3f}  {_stated(table['calibration'][name])}"
        )
        if tempered:
            lines.append(f"{'':<14} with a temperature: {_stated(tempered['calibration'])}")
        above = table.get("log_loss_above_best", {}).get(name)
        if above:
            share = {"value": accuracy["share_of_bayes"], "interval": accuracy["share_interval"]}
            best = f"{_sure(share)} of the best accuracy {accuracy['bayes']:.3f}"
            lines.append(f"{'':<14} over all labels: {best}, log-loss {_sure(above)} above the best")
        sign = table.get("sign", {}).get(name)
        lines += [f"{'':<14} sign {sign['value']:.3f} of {sign['n']} marked answers"] if sign else []
    conflicts = table["conflicts"] if isinstance(table["conflicts"], dict) else {}  # earlier versions had a list
    if len(conflicts.get("objectives", ())) > 1 and conflicts["all_right"]["value"] is not None:
        together = conflicts["all_right"]
        lines.append(f"all objectives that label a pair right: {_sure(together)} of {together['n']} pairs")
    return lines


def _stated(calibration: dict[str, Any]) -> str:
    """Calibration: the ECE, what noise alone makes of it, and the error without that noise."""
    chance, error = calibration.get("ece_if_calibrated"), calibration.get("error") or {"value": None}
    by_chance = "" if chance is None else f" ({chance:.3f} if calibrated)"
    without = "" if error["value"] is None else f"  calibration error {_sure(error)}"
    return f"ECE {calibration['ece']:.3f}{by_chance}{without}"


def section_lines(table: dict[str, Any]) -> list[str]:
    """The scores of a benchmark as text: remarks, a line per section, the final score."""
    judge = table["judge"].get("objective") or ", ".join(f"{n} {w:g}" for n, w in table["judge"]["preference"].items())
    lines = [*(f"! {note}" for note in table["notes"]), f"{table['path']}: {table['rows']} rows, judged by {judge}"]
    lines.append(f"{'section':<24}{'rows':>7}{'tie is wrong':>22}{'tie shares':>22}")
    for entry in [*table["sections"], {"section": "mean of sections", **table["final"]}]:
        cells = "".join(f"{_sure(_of(entry, key)):>22}" for key in ("strict", "shared"))
        lines.append(f"{entry['section']:<24}{entry['n']:>7}{cells}")
    lines.append(f"[{table['level']:.0%} intervals over prompts; none where there is one prompt]")
    return lines


def _of(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {"value": entry[key], "interval": entry[f"{key}_interval"]}


def compare_lines(table: dict[str, Any]) -> list[str]:
    """A comparison as text: warnings, a line per method, a line per pair."""
    z = ", ".join(f"{value:.2f}" for value in table["reference_point"]["values"])
    columns = {"hypervolume": "hypervolume", "inner_product": "utility", "win_rate": "win rate", "kl": "KL"}
    wide = max(len(method["name"]) for method in table["methods"])
    lines = [
        *(f"! {warning}" for warning in table["warnings"]),
        f"judged by {table['judge']['name']} ({table['judge']['unit']}), {_asked(table)} x "
        f"{table['samples_per_prompt']}; hypervolume above {z}",
        "method".ljust(wide) + " seeds" + "".join(f"{title:>23}" for title in columns.values()),
    ]
    for method in table["methods"]:
        cells = "".join(f"{_sure(method['indicators'][name]):>23}" for name in columns)
        lines.append(f"{method['name']:<{wide}} {len(method['seeds']):>5}{cells}")
    for pair in table["pairs"]:
        lines.append(f"\n{pair['a']} against {pair['b']} ({pair['covers']})")
        for part, where in (("verdicts", ""), ("at_matched_kl", " at matched KL")):
            for name, entry in (pair[part] or {}).items():
                said = winner(pair["a"], pair["b"], entry["verdict"])
                lines.append(_difference(f"{columns[name] + where:<27}", entry, said))
        lines.append(f"  {'over reference points':<27}{winner(pair['a'], pair['b'], pair['by_reference_point'])}")
    return lines


def reward_comparison_lines(table: dict[str, Any]) -> list[str]:
    """A comparison of reward models as text: warnings, a line per objective and method, a line per difference."""
    columns = {"accuracy": 23, "log_loss": 23, "ece": 8, "ece_if_calibrated": 12,
               "calibration_error": 23, "aurc_margin": 12, "aurc_spread": 12, "auc": 8, "d_paired": 8}  # fmt: skip
    heads = {"ece_if_calibrated": "by chance", "calibration_error": "calibration error",
             "log_loss": "log-loss", "ece": "ECE", "aurc_margin": "AURC margin", "aurc_spread": "AURC spread",
             "auc": "AUC", "d_paired": "d_z"}  # fmt: skip
    wide = max(len(name) for name in [*(m["name"] for m in table["methods"]), *table["objectives"]])
    lines = [*(f"! {warning}" for warning in table["warnings"])]
    lines.append(f"the same {table['held_out']} held-out pairs of {table['prompts']} prompts for all")
    for objective in table["objectives"]:
        bayes = table["bayes"][objective]
        head = "".join(f"{heads.get(name, name):>{width}}" for name, width in columns.items())
        lines.append(f"\n{objective:<{wide}} seeds{head}" + (f"   (best possible {bayes:.3f})" if bayes else ""))
        for method in table["methods"]:
            entries = method["metrics"][objective]
            cells = "".join(f"{_known(entries[name]):>{width}}" for name, width in columns.items())
            lines.append(f"{method['name']:<{wide}} {len(method['seeds']):>5}{cells}")
    for pair in table["pairs"]:
        lines.append(f"\n{pair['a']} against {pair['b']} ({pair['covers']})")
        for objective, entries in pair["objectives"].items():
            for name, entry in entries.items():
                label = f"{heads.get(name, name)} of {objective}"
                lines.append(
                    _difference(f"{label:<{wide + 13}}", entry, winner(pair["a"], pair["b"], entry["verdict"]))
                )
    return lines


def _known(entry: dict[str, Any]) -> str:
    return "-" if entry["value"] is None else _sure(entry)


def _difference(label: str, entry: dict[str, Any], said: str) -> str:
    low, high = entry["interval"]
    gap = f"{entry['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"  {label}{gap:<28}p {entry['p_holm']:.3f}  {said}"
