"""``python -m mora.evaluate``: measure a finished run again, or compare several; write tables and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mora.errors import NO_SOLUTION, InputError
from mora.files import read_object
from mora.latest import find_run
from mora.run.plan import find_named
from mora.settings.identity import plain
from mora.settings.launch import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(cfg: DictConfig, overrides: list[str]) -> None:
    """Write tables and report into the run folder, or into one of the comparison, and show the result."""
    _check_named(cfg)
    from mora.run.conclude import conclude

    if cfg.evaluation.takes == "runs":
        conclude(_compare(cfg, overrides))
    else:
        folder, table = _measure(cfg, overrides)
        conclude(folder, table)
        if table == "safety" and not read_object(folder / "tables" / "safety.json", ["solution"])["solution"]:
            raise SystemExit(NO_SOLUTION)


def _check_named(cfg: DictConfig) -> None:
    """Raises InputError unless just what the evaluation takes is named: a run, or runs."""
    comparing = cfg.evaluation.takes == "runs"
    wanted, other = ("runs", "run") if comparing else ("run", "runs")
    example = "'runs=[runs/ONE,runs/OTHER]'" if comparing else "run=runs/NAME"
    if not cfg[wanted]:
        raise InputError(f"{wanted} is missing: name what was trained, a run folder or its name, as in {example}")
    if cfg[other]:
        raise InputError(f"{other} is not for this evaluation; it takes {wanted}, as in {example}")
    if comparing and isinstance(cfg.runs, str):
        raise InputError(f"runs={cfg.runs}: write a list, as in {example}")
    named = [find_run(one, cfg.paths.runs, wanted) for one in _all_runs(plain(cfg[wanted]))]
    find_named(cfg.evaluation, named[0].parent if not comparing else cfg.paths.runs)


def _all_runs(runs: Any) -> list[str]:
    """The runs of a comparison, one after another: of a list, or of a mapping from labels to one or several."""
    groups = list(runs.values()) if isinstance(runs, dict) else [runs]
    return [str(run) for group in groups for run in (group if isinstance(group, list) else [group])]


def _measure(cfg: DictConfig, overrides: list[str]) -> tuple[Path, str]:
    """The folder of the run, and the name of the table that was asked for."""
    from mora.run.execute import report
    from mora.run.measure import measure
    from mora.run.opened import open_run

    folder, config = open_run(cfg.run, cfg.paths.runs)
    named = any(override.startswith("evaluation=") for override in overrides)
    if named and (folder.path / "reward").is_dir() and cfg.evaluation.measures != "reward":
        raise InputError(f"{folder.path} is a reward model; use evaluation=reward_model or evaluation=sections")
    with folder.lock():
        table = measure(folder, config, plain(cfg.evaluation), seed=cfg.seed)
        report(folder)
    return folder.path, table


def _compare(cfg: DictConfig, overrides: list[str]) -> Path:
    if cfg.evaluation.measures == "reward":
        from mora.run.compare_rewards import compare_rewards

        return compare_rewards(cfg, overrides)
    from mora.run.compare import compare

    return compare(cfg, overrides)


def main() -> None:
    """The command line."""
    run("evaluate", evaluate)


if __name__ == "__main__":
    main()
