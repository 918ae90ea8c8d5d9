"""The resolved configuration of a few canonical commands: a review sees what an edit of a YAML changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mora.files import write_text
from mora.settings.compose import compose
from mora.settings.identity import to_yaml
from mora.settings.tree import conf_dir

FOLDER = "_resolved"
CANONICAL: Mapping[str, tuple[str, ...]] = {
    "train": (),
    "train_sft": ("algo=sft",),
    "train_reward_model_scalar": ("algo=reward_model", "reward=scalar"),
    "train_panacea_hummer": ("algo=panacea", "reward=qr", "dataset=hummer", "model=qwen2_5_0_5b"),
    "train_tchebycheff_jsonl": (
        "algo=panacea",
        "scalarize=tchebycheff",
        "dataset=jsonl",
        "dataset.path=pairs.jsonl",
        "objectives.names=[helpful,safe]",
    ),
}
"""File name and overrides of ``python -m mora.train`` for each."""


def texts(root: Path | str | None = None) -> dict[Path, str]:
    """What each snapshot should say now."""
    folder = conf_dir(root) / FOLDER
    found = {}
    for name, overrides in CANONICAL.items():
        head = f"# {' '.join(['python -m mora.train', *overrides])}\n# Written by python -m mora.config snapshot.\n\n"
        found[folder / f"{name}.yaml"] = head + to_yaml(compose("train", overrides, root))
    return found


def stale(root: Path | str | None = None) -> list[Path]:
    """Snapshots that differ from the tree, are absent, or belong to no canonical command any more."""
    expected = texts(root)
    present = set((conf_dir(root) / FOLDER).glob("*.yaml"))
    said = {path: path.read_text(encoding="utf-8") for path in present}
    differing = [path for path, text in expected.items() if said.get(path) != text]
    return sorted({*differing, *(present - expected.keys())})


def write(root: Path | str | None = None) -> list[Path]:
    """Bring the snapshots up to date and return those that changed."""
    expected, changed = texts(root), stale(root)
    for path in changed:
        if path in expected:
            write_text(path, expected[path])
        else:
            path.unlink()
    return changed
