"""The rows of a benchmark: right answers against wrong ones, read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mora.dataset import schema
from mora.dataset.bad_rows import listed
from mora.dataset.cells import items
from mora.dataset.read import Record, records
from mora.dataset.schema import BadRow
from mora.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One row of a benchmark: right answers against wrong ones to the same prompt."""

    where: str
    id: str | None
    subset: str
    prompt: str
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]


def read_contests(path: str) -> list[Contest]:
    """The rows of a benchmark file.  Raises InputError that lists bad rows with file and line."""
    found, problems = [], []
    for record in records(path, "evaluation.path"):
        problem = record.problem or _problem(record.fields or {})
        if problem:
            problems.append((record.where, problem))
        else:
            found.append(_contest(record))
    if problems:
        lines = [f"evaluation.path={path}: {len(problems)} bad rows; repair or delete them", *listed(problems)]
        raise InputError("\n".join(lines))
    return found


def _problem(fields: Mapping[str, Any]) -> str:
    """What is wrong with a row, or nothing."""
    missing = [key for key in ("prompt", "chosen", "rejected", "subset") if fields.get(key) is None]
    if missing:
        return f"{', '.join(missing)} missing; a row has prompt, chosen, rejected and subset"
    try:
        for key in ("prompt", "subset"):
            schema.text(fields, key)
        for key in ("chosen", "rejected"):
            given = items(fields[key], str)
            texts = [given] if isinstance(given, str) else given
            if not isinstance(texts, list) or not texts:
                return f"{key} must be a text or a list of texts, not {fields[key]!r:.60}"
            for number, text in enumerate(texts, start=1):
                schema.any_text({f"{key}[{number}]": text}, f"{key}[{number}]")
    except BadRow as error:
        return str(error)
    return ""


def _contest(record: Record) -> Contest:
    fields = record.fields or {}

    def texts(key: str) -> tuple[str, ...]:
        given = items(fields[key], str)
        return (given,) if isinstance(given, str) else tuple(given)

    own = fields.get("id")
    return Contest(
        where=record.where,
        id=None if own is None else str(own),
        subset=fields["subset"],
        prompt=fields["prompt"],
        chosen=texts("chosen"),
        rejected=texts("rejected"),
    )
