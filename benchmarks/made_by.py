"""What made a table: the line at the head of everything that a benchmark prints."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path


def made_by() -> str:
    """The commit, ``-dirty`` where files differ from it, and the command: what a table can be made again from."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown (no git checkout)"
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return f"commit {commit}: {command}"
