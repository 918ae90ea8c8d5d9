"""Records of a dataset on the Hugging Face hub, at one commit."""

from __future__ import annotations

from collections.abc import Iterator

import datasets

from mora.dataset.pinned import no_dataset
from mora.dataset.read import Record
from mora.errors import InputError


def hub_records(
    hub: str, *, split: str, commit: str | None, config: str | None = None, data_dir: str | None = None
) -> Iterator[Record]:
    """The records of one split.  Raises InputError where it cannot be loaded, saying how to go on with a local copy."""
    try:
        rows = datasets.load_dataset(hub, name=config, data_dir=data_dir, split=split, revision=commit)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(no_dataset(hub, reason)) from error
    place = "/".join(part for part in (hub, config, data_dir, split) if part)
    for number, fields in enumerate(rows):
        yield Record(where=f"{place}: row {number}", fields=fields, raw=fields)


def hub_note(hub: str, commit: str | None) -> str:
    """Which dataset was read, for the record."""
    return f"read from the hub: {hub} at commit {commit or 'unknown (offline: the copy in the local cache)'}"
