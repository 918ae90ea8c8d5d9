"""What a reward model is, in a few lines of text, from its card alone: no weights are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mora.model.score_model import CARD, read_card
from mora.reward.card import TARGET
from mora.reward.standardization import Standardization

SHOWN = 12  # characters of a hash


def described(folder: Path | str) -> str:
    """Kind with its fields, objectives, encoding, and the units of the scores with where they come from.

    Raises InputError for a folder that is no reward model.  The JSON is the card itself, which the first line names.
    """
    card = read_card(folder)
    section = dict(card.get("reward", {}))
    kind = str(section.pop(TARGET, card["kind"]))
    facts = [
        ("card", str(Path(folder) / CARD)),
        ("kind", kind),
        ("fields", _listed(section)),
        ("objectives", ", ".join(card["objectives"])),
        ("outputs per objective", str(card["width"])),
        ("encoding", _listed(card.get("encoding", {}))),
    ]
    known = card.get("standardization")
    lines = _aligned(facts)
    if known is None:
        return "\n".join([*lines, "units: none; scores are raw until they are measured on a reference policy"])
    return "\n".join([*lines, "", *_units(card["objectives"], Standardization.read(known))])


def _units(objectives: Sequence[str], units: Standardization) -> list[str]:
    """A row per objective, then the provenance."""
    rows = [("objective", "mean", "std", "a score is")]
    for name, mean, std, shifted in zip(objectives, units.mean.tolist(), units.std.tolist(), units.shifts, strict=True):
        rows.append((name, f"{mean:.6g}", f"{std:.6g}", "(raw - mean) / std" if shifted else "raw / std"))
    if units.members is not None:
        shifts, divisors = units.of_members(units.members.shape[-1])
        for name, own, scale in zip(objectives, shifts.tolist(), divisors.tolist(), strict=True):
            rows += [
                (f"{name}, member {number}", f"{a:.6g}", f"{b:.6g}", "(raw - shift) / divisor, in all")
                for number, (a, b) in enumerate(zip(own, scale, strict=True), 1)
            ]
    about = {key: str(value)[:SHOWN] if key.endswith("sha256") else value for key, value in units.provenance.items()}
    return [*_aligned(rows), "", "mean and std of the reference policy's answers:", *_aligned(list(about.items()))]


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in facts.items()) or "none"


def _aligned(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Columns of one width, by their longest cell."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]
