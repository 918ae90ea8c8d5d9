"""``python -m mora.score``: score a file of answers with the reward model of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mora.errors import InputError
from mora.settings.launch import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def score(cfg: DictConfig, overrides: list[str]) -> None:
    """Write every row of ``input`` with its scores to ``output``, in order; nothing is written when a row is bad.

    Raises InputError for a run without a reward model, for a bad row, and for an output that is the input or a folder.
    """
    import torch

    from mora.files import write_lines
    from mora.reward.hub_panel import HubPanel
    from mora.reward.scoring import read_answers, score_answers
    from mora.reward.stored import load_panel
    from mora.runs import open_run

    source, target = Path(cfg.input), Path(cfg.output)
    if target.resolve() == source.resolve():
        raise InputError(f"output={target} is the input; name another file, so that the rows are kept")
    if target.is_dir():
        raise InputError(f"output={target} is a folder; name a file in it")
    if cfg.batch_size < 1:
        raise InputError(f"batch_size={cfg.batch_size}: must be at least 1")
    folder, config = open_run(cfg.run, cfg.paths.runs)
    if not (folder.path / "reward").is_dir():
        kind = str(config["algo"]["_target_"]).rsplit(".", 1)[-1]
        raise InputError(
            f"{folder.path} holds no reward model (it is a run of {kind}); name a run of algo=reward_model"
        )
    rows = read_answers(source)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    panel = load_panel(folder.path / "reward", device, batch_size=cfg.batch_size)
    write_lines(target, score_answers(panel, rows))
    for note in panel.notes() if isinstance(panel, HubPanel) else ():
        print(note)
    print(f"{target}: {len(rows)} rows, scored on {', '.join(panel.objectives)} by {folder.id}")


def main() -> None:
    """The command line."""
    run("score", score)


if __name__ == "__main__":
    main()
