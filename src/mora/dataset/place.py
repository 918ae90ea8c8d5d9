"""Where the records of a source stand: splits and subsets of the hub, or of local files in the same layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mora.dataset.hub import hub_records
from mora.dataset.pinned import PLACEHOLDER, Copy
from mora.dataset.read import Record, files, records, records_of
from mora.errors import InputError

Side = Literal["train", "test"]
SUBSET = "subset"  # the field that says which subset a record is of


@dataclass(frozen=True, kw_only=True)
class Place:
    """The records of a source, training and test.

    Of the hub: the splits ``train_split`` and ``test_split`` of ``config``, in each of the ``subsets`` (folders).  With
    a local ``path``: a file, a folder or a glob pattern, and ``test_path`` likewise.  A folder is read as the hub reads
    it: its files named after the test split are the test set.  Subsets are folders below ``path``, or stand in it as
    ``{subset}``; a single one may be given as its files.  ``test_where`` instead tells test records by the values of
    their fields.
    """

    hub: str | None
    config: str | None
    copy: Copy | None  # of the hub; None: local files
    subsets: tuple[str, ...] | None
    train_split: str
    test_split: str | None
    test_where: Mapping[str, Any] | None
    path: str | None
    test_path: str | None

    def records(self, side: Side) -> Iterator[Record]:
        """The records of one side, in the order of the source, of a subset each with its name as the field ``subset``.

        Raises InputError where there is none, and for a missing folder.
        """
        for subset in self.subsets or (None,):
            for record in self._of_subset(side, subset):
                if subset is not None and record.fields is not None:
                    record = replace(record, fields={**record.fields, SUBSET: subset})
                yield record

    def brings_test(self) -> bool:
        """Whether the source has a test set of its own."""
        if self.test_where is not None or self.test_path is not None:
            return True
        if self.path is None:
            return self.test_split is not None
        return any(self._local("test", subset) for subset in self.subsets or (None,))

    def _of_subset(self, side: Side, subset: str | None) -> Iterator[Record]:
        if self.test_where is None:
            return self._all(side, subset)
        wanted = side == "test"
        return (record for record in self._all("train", subset) if self._is_test(record) == wanted)

    def _is_test(self, record: Record) -> bool:
        assert self.test_where is not None
        fields = record.fields
        return fields is not None and all(fields.get(name) == value for name, value in self.test_where.items())

    def _all(self, side: Side, subset: str | None) -> Iterator[Record]:
        if self.path is None:
            split = self.train_split if side == "train" else self.test_split
            assert self.hub is not None and self.copy is not None and split is not None
            return hub_records(self.hub, self.copy, split=split, config=self.config, data_dir=subset)
        if side == "test" and self.test_path is not None:
            return records(self._filled(self.test_path, subset, "dataset.test_path"), "dataset.test_path")
        return records_of(self._local(side, subset), f"dataset.path={self.path}")

    def _local(self, side: Side, subset: str | None) -> list[Path]:
        """Local files of one side; of a folder those that the name of the test split does or does not occur in."""
        assert self.path is not None
        path = self._filled(self.path, subset, "dataset.path")
        found, root = files(path, "dataset.path"), Path(path).expanduser()
        if not root.is_dir() or self.test_split is None or self.test_where is not None:
            return found if side == "train" else []
        name = re.compile(rf"(?<![A-Za-z0-9]){re.escape(self.test_split)}(?![A-Za-z0-9])")
        named = [file for file in found if name.search(file.relative_to(root).as_posix().split(".")[0])]
        if side == "test":
            return named
        if self.test_path is None and len(named) == len(found):
            raise InputError(f"dataset.path={self.path}: all files there are named {self.test_split}, none to train on")
        return [file for file in found if file not in named]

    def _filled(self, path: str, subset: str | None, key: str) -> str:
        """Where a subset stands in ``path``; of a single one the path may be its files."""
        if subset is None:
            return path
        if PLACEHOLDER in path:
            return path.replace(PLACEHOLDER, subset)
        root = Path(path).expanduser()
        if self.subsets == (subset,) and not root.is_dir():
            return path
        if not (root / subset).is_dir():
            found = ", ".join(sorted(place.name for place in root.iterdir() if place.is_dir())) if root.is_dir() else ""
            raise InputError(
                f"{key}={path}: no folder {subset!r} (there: {found or 'none'}); it must hold one folder per subset, "
                "or say where a subset stands: 'FOLDER/{subset}.jsonl'"
            )
        return str(root / subset)
