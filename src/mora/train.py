"""``python -m mora.train``: train what the configuration names, and first what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mora.settings.launch import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(cfg: DictConfig, overrides: list[str]) -> None:
    """Plan the stages, run those that are not done, and show the result."""
    from mora.run.conclude import announce, conclude
    from mora.run.plan import pending, plan

    stages = plan(cfg, overrides)
    target = stages[-1]
    fresh = bool(cfg.runtime.fresh)
    announce(stages, fresh=fresh)
    if fresh or not target.finished:
        from mora.run.needs import check_data

        check_data(stages, fresh=fresh)
        from mora.run.execute import execute

        execute(stages, cfg)
    elif pending(target):
        from mora.run.execute import measure_again

        measure_again(target, cfg)
    conclude(target.path)


def main() -> None:
    """The command line."""
    run("train", train)


if __name__ == "__main__":
    main()
