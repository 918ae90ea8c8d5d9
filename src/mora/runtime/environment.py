"""What a run was computed with: versions, platform and commit; no environment variables, no host names."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import mora

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "deepspeed",
    "peft",
    "bitsandbytes",
    "datasets",
    "safetensors",
    "numpy",
    "hydra-core",
    "omegaconf",
)


def versions() -> dict[str, str]:
    """The installed versions of the packages that can change a result."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """Python, platform, package versions and, in a git checkout, the commit of mora."""
    return {**_described(), "packages": versions()}


@cache  # what a process has loaded stays as it is, whatever is installed or committed meanwhile
def _described() -> dict[str, Any]:
    return {
        "mora": mora.__version__,
        "commit": commit(Path(mora.__file__)),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def commit(source: Path) -> str | None:
    """The commit that tracks ``source``, with ``+changes`` when tracked files differ from it; None outside git."""

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(source.parent), *arguments], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    if git("ls-files", "--error-unmatch", source.name) is None:
        return None
    head = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    return None if head is None else f"{head}+changes" if changed else head
