"""``python -m mora.evaluate``: measure a finished run again, and write its tables and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mora.settings.launch import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(cfg: DictConfig, overrides: list[str]) -> None:
    """Write tables and report into the run folder and show the result."""
    from mora.running import measure, report
    from mora.runs import open_run
    from mora.settings.identity import plain
    from mora.summary import conclude

    folder, config = open_run(cfg.run, cfg.paths.runs)
    with folder.lock():
        measure(folder, config, plain(cfg.evaluation), seed=cfg.seed)
        report(folder)
    conclude(folder.path)


def main() -> None:
    """The command line."""
    run("evaluate", evaluate)


if __name__ == "__main__":
    main()
