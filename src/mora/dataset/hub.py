"""Records of a dataset on the Hugging Face hub, at one commit."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
from datasets.exceptions import DatasetsError

from mora.dataset.pinned import AWAY, HubSnapshot, no_dataset
from mora.dataset.read import Record
from mora.errors import InputError


def hub_records(
    hub: str, snapshot: HubSnapshot, *, split: str, config: str | None = None, data_dir: str | None = None
) -> Iterator[Record]:
    """The records of one split, of the hub or of the snapshot in the local cache.

    Raises InputError where it cannot be loaded, saying how to go on with a local copy.
    """
    path, revision = (hub, snapshot.commit) if snapshot.folder is None else (str(snapshot.folder), None)
    try:
        rows = datasets.load_dataset(path, name=config, data_dir=data_dir, split=split, revision=revision)
    except (*AWAY, ValueError, RuntimeError, DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(no_dataset(hub, reason)) from error
    place = "/".join(part for part in (hub, config, data_dir, split) if part)
    for number, fields in enumerate(rows):
        yield Record(where=f"{place}: row {number}", fields=fields, raw=fields)


def hub_note(hub: str, snapshot: HubSnapshot) -> str:
    """Which dataset was read, for the record."""
    place = "the hub" if snapshot.folder is None else f"the local cache {snapshot.folder}, since the hub is away"
    return f"read from {place}: {hub} at commit {snapshot.commit}"
