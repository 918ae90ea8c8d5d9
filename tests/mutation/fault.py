"""A fault is data: where it is, what it puts in place of what, why it matters, and which tests must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "mora"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One plausible mistake in one file of the package."""

    name: str
    file: str  # relative to src/mora
    old: str  # stands exactly once in the file
    new: str
    why: str  # what goes wrong for a user
    caught_by: tuple[str, ...]  # quick tests: tests/FILE, or tests/FILE::TEST with or without parameters

    def planted(self, text: str) -> str:
        """``text`` with the fault in it.  Raises ValueError unless the place exists once and changes."""
        found = text.count(self.old)
        if found != 1 or self.old == self.new:
            raise ValueError(f"fault {self.name}: its text stands {found} times in {self.file}; it must stand once")
        return text.replace(self.old, self.new)
