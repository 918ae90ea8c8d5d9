"""``python -m mora.score``: score a file of answers with the reward model of a finished run, or say what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mora.errors import InputError
from mora.latest import find_run
from mora.settings.launch import run

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mora.runtime.folder import RunFolder


def score(cfg: DictConfig, overrides: list[str]) -> None:
    """Write every row of ``input`` with its scores to ``output``; without the two, print what the reward model is.

    Raises InputError for a run without a reward model, for one of ``input`` and ``output`` without the other, for bad
    rows, and for an output that is the input, a folder, or of no format that is written.
    """
    if (cfg.input is None) != (cfg.output is None):
        given, missing = ("output", "input") if cfg.input is None else ("input", "output")
        raise InputError(
            f"{given}={cfg[given]} without {missing}: give both to score answers, or neither to see what the reward "
            "model is"
        )
    if cfg.input is not None:
        _check_paths(cfg.input, Path(cfg.output))
    find_run(cfg.run, cfg.paths.runs)
    from mora.reward.described import described
    from mora.run.opened import open_run

    folder, config = open_run(cfg.run, cfg.paths.runs)
    if not (folder.path / "reward").is_dir():
        name = config["algo"]["name"]
        raise InputError(
            f"{folder.path} holds no reward model (it is a run of {name}); name a run of algo=reward_model"
        )
    if cfg.input is None:
        print(described(folder.path / "reward"))
    else:
        _score_file(cfg, folder)


def _check_paths(source: str, target: Path) -> None:
    from mora.dataset.paths import files
    from mora.dataset.write import suffix

    if not isinstance(source, str):
        raise InputError("input: names one file, folder or pattern; score several files one after another")
    if target.is_dir():
        raise InputError(f"output={target} is a folder; name a file in it")
    suffix(target, "output")
    if target.resolve() in {file.resolve() for file in files(source, "input")}:
        raise InputError(f"output={target} is the input; name another file, so that the rows are kept")


def _score_file(cfg: DictConfig, folder: RunFolder) -> None:
    """Rows come back in their order; nothing is written when one is bad."""
    import torch

    from mora.dataset.write import writing
    from mora.reward.scoring import cut_texts, read_answers, score_answers
    from mora.reward.stored import load_scorer

    rows = read_answers(cfg.input)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scorer = load_scorer(folder.path / "reward", device, batch_size=cfg.batch_size)
    scored = score_answers(scorer, rows)
    with writing(Path(cfg.output), "output") as write:
        for row in scored:
            write(row)
    for note in cut_texts(scorer, rows):
        print(note)
    print(f"{cfg.output}: {len(rows)} rows, scored on {', '.join(scorer.objectives)} by {folder.id}")


def main() -> None:
    """The command line."""
    run("score", score)


if __name__ == "__main__":
    main()
