"""What a stranger may hand over: run folders, YAML, cards and a package, each of which would leave a canary."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import mora
from mora.runtime.folder import RunFolder
from mora.settings.identity import plain, to_yaml
from mora.settings.launch import launch

PAYLOAD = """
from pathlib import Path

CANARY = Path(__file__).with_name("canary")
CANARY.write_text("imported")


def run(*args, **kwargs):
    CANARY.write_text("ran")


class Handler:
    def __init__(self, *args, **kwargs):
        run()
"""


class Pickled:
    """Unpickling it writes a canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


class Place:
    """A working directory with a payload in it, and what must not appear there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "payload.py").write_text(PAYLOAD)
        (path / "evil.npy").write_bytes(pickle.dumps(Pickled(path / "canary")))
        self.own = path / "mine"
        self.own.mkdir()

    def harmed(self) -> bool:
        """Whether a payload did anything."""
        return any((self.path / name).exists() for name in ("canary", "written.txt"))

    def written(self) -> set[str]:
        """What lies in the working directory besides what the test put there."""
        return {path.name for path in self.path.iterdir()} - {"payload.py", "evil.npy", "mine", "runs", "__pycache__"}

    def yaml(self, name: str, text: str) -> None:
        """A file of the folder that --config-dir names."""
        (self.own / name).parent.mkdir(parents=True, exist_ok=True)
        (self.own / name).write_text(text)

    def run(self, change: Callable[[dict[str, Any]], Any] | str) -> RunFolder:
        """A finished run below runs/ whose configuration is changed, or replaced by a text, after it was written."""
        identity = {"algo": {"_target_": "mora.algo.sft.SFT", "name": "sft"}}
        folder = RunFolder.open(self.path / "runs", "stranger", identity, config="", overrides="", diff="")
        with folder.lock():
            folder.finish({})
        for product in ("policy", "reward", "model"):
            (folder.path / product).mkdir(exist_ok=True)
        text = change if isinstance(change, str) else _changed(change)
        (folder.path / "config.yaml").write_text(text)
        return folder


def _changed(change: Callable[[dict[str, Any]], Any]) -> str:
    tree = copy.deepcopy(_default())
    change(tree)
    return to_yaml(tree)


@lru_cache
def _default() -> dict[str, Any]:
    tree: dict[str, Any] = plain(mora.compose())
    return tree


def command(name: str, *argv: str, task: Callable[..., Any] | None = None) -> tuple[int, list[Any]]:
    """Exit code of a command line, and the configurations that its task was handed."""
    seen: list[Any] = []

    def record(cfg: Any, overrides: list[str]) -> None:
        seen.append(cfg)
        if task is not None:
            task(cfg, overrides)

    return launch(name, record, argv), seen
