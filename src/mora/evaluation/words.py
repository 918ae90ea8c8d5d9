"""What a pair of methods comes to, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLES = {"hypervolume": "hypervolume", "inner_product": "realized utility"}


def said(pair: Mapping[str, Any]) -> str:
    """Two or three short sentences on a pair of ``compare.json``; the numbers stand beside them."""
    a, b = pair["a"], pair["b"]
    own, matched = (_part(a, b, pair[part] or {}) for part in ("verdicts", "at_matched_kl"))
    kl = "At matched KL the same" if own == matched else f"At matched KL: {matched or 'no verdict'}"
    where = {
        "equal": "Their hypervolumes are equal at every reference point",
        "depends on the reference point": "By the point estimates the reference point decides on the hypervolume",
    }
    ahead = {"A": a, "B": b}.get(pair["by_reference_point"])
    point = f"By the point estimates {ahead} has more hypervolume at every reference point" if ahead else ""
    return f"{own}. {kl}. {point or where[pair['by_reference_point']]}."


def said_of_rewards(pair: Mapping[str, Any]) -> str:
    """One sentence on a pair of ``reward_comparison.json``; the numbers stand beside it."""
    entries = {
        f"{title} of {objective}": found[name]
        for name, title in (("accuracy", "accuracy"), ("log_loss", "log-loss"))
        for objective, found in pair["objectives"].items()
    }
    return f"{_part(pair['a'], pair['b'], entries, {name: name for name in entries})}." if entries else ""


def winner(a: str, b: str, verdict: str) -> str:
    """A verdict, or the winner of a sweep, with the names of the methods."""
    return {"A > B": f"{a} > {b}", "B > A": f"{b} > {a}", "A": f"{a} > {b}", "B": f"{b} > {a}"}.get(verdict, verdict)


def _part(a: str, b: str, entries: Mapping[str, Any], titles: Mapping[str, str] = TITLES) -> str:
    """The verdicts, those that agree together."""
    groups: dict[str, list[str]] = {}
    for name, entry in entries.items():
        groups.setdefault(entry["verdict"], []).append(titles[name])
    parts = []
    for found, names in groups.items():
        which = f"{winner(a, b, found)}" if found != "undecided" else f"{a} and {b} undecided"
        listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        parts.append(f"{which} in {listed}")
    return ", ".join(parts)
