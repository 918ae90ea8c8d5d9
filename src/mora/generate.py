"""``python -m mora.generate``: answers of a policy under preferences, or of a plain model, or a conversation."""

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

    from mora.run.opened import Speaker

PLAIN_HELP = "type a prompt; /quit ends"
HELP = "type a prompt; /preference 0.3,0.7 changes the weights; /quit ends"


def generate(cfg: DictConfig, overrides: list[str]) -> None:
    """Answer every prompt under every preference in one batch; without a prompt, talk."""
    if (cfg.run is None) == (cfg.model is None):
        raise InputError("run, model: name one of the two: the run whose policy answers (run=NAME), or a plain model")
    if cfg.run is not None:
        find_run(cfg.run, cfg.paths.runs)
    elif cfg.preference is not None:
        raise InputError(f"preference: a plain model (model={cfg.model}) has no objectives to weigh; leave it out")
    prompts = [cfg.prompt] if isinstance(cfg.prompt, str) else list(cfg.prompt or [])
    if cfg.prompt is not None and not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts or [""]):
        raise InputError("prompt: there is an empty one; write some text, or null for a conversation")
    opened, preferences = _opened(cfg)
    if cfg.prompt is None:
        _talk(opened, preferences, cfg)
    else:
        _show(opened, prompts, preferences, cfg)


def _opened(cfg: DictConfig) -> tuple[Speaker, list[list[float]]]:
    """Who answers, and under which preferences: a plain model under one without weights."""
    from mora.functional.preference import checked
    from mora.run.opened import open_model, open_policy

    if cfg.run is None:
        return open_model(cfg.model, **cfg.plain), [[]]
    opened = open_policy(cfg.run, cfg.paths.runs)
    if not opened.objectives:
        if cfg.preference is not None:
            raise InputError(f"preference: no preference steers the policy of {opened.folder.path}; leave it out")
        return opened, [[]]
    names, floored = opened.objectives, opened.policy.floored
    equal = [0.0 if place in floored else 1 / (len(names) - len(floored)) for place in range(len(names))]
    given = [equal] if cfg.preference is None else _plain(cfg.preference)
    return opened, checked(given, opened.objectives, "preference").tolist()


def _plain(preference: Any) -> list[Any]:
    return [list(p) if isinstance(p, Sequence) and not isinstance(p, str) else p for p in preference]


def _show(opened: Speaker, prompts: list[str], preferences: list[list[float]], cfg: DictConfig) -> None:
    from mora.runtime.sampling import answer

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
            named = " ".join(f"{name} {w:.2f}" for name, w in zip(opened.objectives, preference, strict=True))
            weights = f"[{named}] " if named else ""
            for text, ended in answers:
                print(visible(f"  {weights}{text}{'' if ended else '  [cut off]'}"))
    cut = [not ended for rows in answered for answers in rows for _, ended in answers]
    if any(cut):
        limit = cfg.max_new_tokens or opened.encoder.max_response
        print(f"{sum(cut)} of {len(cut)} answers were cut off at {limit} tokens (max_new_tokens)")


def _talk(opened: Speaker, preferences: list[list[float]], cfg: DictConfig) -> None:
    from mora.functional.preference import checked

    said = (
        f"objectives {', '.join(opened.objectives)}; {HELP}"
        if opened.objectives
        else f"steered by no preference; {PLAIN_HELP}"
    )
    print(f"{opened.name}: {said}")
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line in ("/quit", "/exit"):
            return
        if line.startswith("/preference") and opened.objectives:
            try:
                weights = [
                    float(w) for w in line.removeprefix("/preference").replace("[", "").replace("]", "").split(",")
                ]
                preferences = checked(weights, opened.objectives, "preference").tolist()
                print(f"preference {weights}")
            except (InputError, ValueError) as error:
                print(visible(f"error: {error}"))
        elif line.startswith("/preference"):
            print(visible(_unsteered(opened)))
        elif line.startswith("/"):
            print(HELP if opened.objectives else PLAIN_HELP)
        elif line:
            try:
                _show(opened, [line], preferences, cfg)
            except InputError as error:  # about this prompt: the conversation goes on
                print(visible(f"error: {error}"))


def _unsteered(opened: Speaker) -> str:
    """What is said to a preference where none steers: which one the policy has."""
    from mora.run.build import build
    from mora.run.opened import PolicyRun

    if not isinstance(opened, PolicyRun):
        return f"{opened.name} is a plain model: it has no objectives to weigh"
    names = opened.policy.adapter.objectives
    weights = build(opened.config["preference"]).of(len(names)).tolist()
    said = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, weights, strict=True))
    return f"{opened.name} has one preference, which it was trained at: {said}"


def main() -> None:
    """The command line."""
    run("generate", generate)


if __name__ == "__main__":
    main()
