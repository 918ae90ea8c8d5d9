"""Records of a dataset on the Hugging Face hub, at one commit."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
import huggingface_hub

from mora.dataset.read import Record
from mora.errors import InputError


def hub_commit(hub: str, revision: str | None) -> str | None:
    """The commit that ``revision`` (null: the newest) stands for; ``revision`` itself where the hub cannot be asked."""
    try:
        return huggingface_hub.HfApi().dataset_info(hub, revision=revision).sha
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise InputError(_message(hub, "the hub has no such dataset, or it needs a login")) from error
    except huggingface_hub.errors.RevisionNotFoundError as error:
        raise InputError(f"dataset.revision={revision}: {hub} has no such revision") from error
    except OSError:  # no network: a copy in the local cache may do
        return revision


def hub_records(
    hub: str, *, split: str, commit: str | None, config: str | None = None, data_dir: str | None = None
) -> Iterator[Record]:
    """The records of one split.  Raises InputError where it cannot be loaded, saying how to go on with a local copy."""
    try:
        rows = datasets.load_dataset(hub, name=config, data_dir=data_dir, split=split, revision=commit)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(_message(hub, reason)) from error
    place = "/".join(part for part in (hub, config, data_dir, split) if part)
    for number, fields in enumerate(rows):
        yield Record(where=f"{place}: row {number}", fields=fields, raw=fields)


def hub_note(hub: str, commit: str | None) -> str:
    """Which dataset was read, for the record."""
    return f"read from the hub: {hub} at commit {commit or 'unknown (offline: the copy in the local cache)'}"


def _message(hub: str, reason: str) -> str:
    return f"dataset {hub!r} could not be loaded from the hub: {reason}; with a local copy: dataset.path=FILE_OR_FOLDER"
