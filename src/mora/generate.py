"""``python -m mora.generate``: answers of a policy under preferences, or a conversation with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mora.errors import InputError, visible
from mora.latest import find_run
from mora.settings.launch import run
from mora.turns import readable

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mora.runs import PolicyRun

HELP = "type a prompt; /preference 0.3,0.7 changes the weights; /quit ends"


def generate(cfg: DictConfig, overrides: list[str]) -> None:
    """Answer every prompt under every preference in one batch; without a prompt, talk."""
    find_run(cfg.run, cfg.paths.runs)
    prompts = [cfg.prompt] if isinstance(cfg.prompt, str) else list(cfg.prompt or [])
    if cfg.prompt is not None and not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts or [""]):
        raise InputError("prompt: there is an empty one; write some text, or null for a conversation")
    from mora.functional.preference import checked
    from mora.runs import open_policy

    opened = open_policy(cfg.run, cfg.paths.runs)
    count = len(opened.objectives)
    given = [[1 / count] * count] if cfg.preference is None else _plain(cfg.preference)
    preferences = checked(given, opened.objectives, "preference").tolist()
    if cfg.prompt is None:
        _talk(opened, preferences, cfg)
    else:
        _show(opened, prompts, preferences, cfg)


def _plain(preference: Any) -> list[Any]:
    return [list(p) if isinstance(p, Sequence) and not isinstance(p, str) else p for p in preference]


def _show(opened: PolicyRun, prompts: list[str], preferences: list[list[float]], cfg: DictConfig) -> None:
    from mora.runtime.rollout import answer

    answered = answer(
        opened.policy,
        opened.encoder,
        prompts,
        preferences,
        samples=cfg.samples,
        temperature=cfg.temperature,
        max_new_tokens=cfg.max_new_tokens,
        seed=cfg.seed,
    )
    for prompt, rows in zip(prompts, answered, strict=True):
        print(visible(f"\n{readable(prompt)}"))
        for preference, answers in zip(preferences, rows, strict=True):
            weights = " ".join(f"{name} {w:.2f}" for name, w in zip(opened.objectives, preference, strict=True))
            for text, ended in answers:
                print(visible(f"  [{weights}] {text}{'' if ended else '  [cut off]'}"))
    cut = [not ended for rows in answered for answers in rows for _, ended in answers]
    if any(cut):
        limit = cfg.max_new_tokens or opened.encoder.max_response
        print(f"{sum(cut)} of {len(cut)} answers were cut off at {limit} tokens (max_new_tokens)")


def _talk(opened: PolicyRun, preferences: list[list[float]], cfg: DictConfig) -> None:
    from mora.functional.preference import checked

    print(f"{opened.folder.id}: objectives {', '.join(opened.objectives)}; {HELP}")
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line in ("/quit", "/exit"):
            return
        if line.startswith("/preference"):
            try:
                weights = [
                    float(w) for w in line.removeprefix("/preference").replace("[", "").replace("]", "").split(",")
                ]
                preferences = checked(weights, opened.objectives, "preference").tolist()
                print(f"preference {weights}")
            except (InputError, ValueError) as error:
                print(visible(f"error: {error}"))
        elif line.startswith("/"):
            print(HELP)
        elif line:
            try:
                _show(opened, [line], preferences, cfg)
            except InputError as error:  # about this prompt: the conversation goes on
                print(visible(f"error: {error}"))


def main() -> None:
    """The command line."""
    run("generate", generate)


if __name__ == "__main__":
    main()
