"""Where the records of a source stand: splits and subsets of the hub, or of local files in the same layout."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mora.dataset.cells import typed
from mora.dataset.hub import hub_records
from mora.dataset.paths import PLACEHOLDER, MatchedFiles, match_files, of_subset, readable, shown, stem
from mora.dataset.pinned import HubSnapshot
from mora.dataset.read import Record, records, records_of
from mora.errors import InputError

Split = Literal["train", "test"]
HELD_OUT = "test|validation|valid|val|dev|eval"  # what test sets are called
SUBSET = "subset"  # the field that says which subset a record is of


def _called(word: str, text: str) -> bool:
    """Whether ``word``, a regular expression, is a word of its own in the name of a file or folder."""
    return re.search(rf"(?<![A-Za-z0-9])(?:{word})(?![A-Za-z0-9])", text, re.IGNORECASE) is not None


@dataclass(frozen=True, kw_only=True)
class FilesBySplit:
    """Local files by their names, and which of them are trained on, tested on and not read."""

    files: Mapping[str, Path]
    train: Sequence[str]
    test: Sequence[str] = ()
    left_out: Sequence[str] = ()
    single: bool = False  # a file that was named itself


@dataclass(frozen=True, kw_only=True)
class SourceRecords:
    """The records of a source, training and test.

    Of the hub: the splits ``train_split`` and ``test_split`` of ``config``, in each of the ``subsets`` (folders).  With
    a local ``path``: a file, a folder or a glob pattern, and ``test_path`` likewise.  Several files are read as the hub
    reads them: those named after the test split, or below a folder of that name, are the test set; where some are named
    after the training split, no others are trained on.  Subsets are folders below ``path``, or stand in it as
    ``{subset}``; a single one may be given as its files.  ``test_where`` instead tells test records by the values of
    their fields.  Where ``test_path`` is given, what else is called a test set is not read.
    """

    hub: str | None
    config: str | None
    snapshot: HubSnapshot | None  # of the hub; None: local files
    subsets: tuple[str, ...] | None
    train_split: str
    test_split: str | None
    test_where: Mapping[str, Any] | None
    path: str | None
    test_path: str | None

    def records(self, split: Split) -> Iterator[Record]:
        """The records of one split, in the order of the source, of a subset each with its name as the field ``subset``.

        Raises InputError where there is none, and for a missing folder.
        """
        for subset in self.subsets or (None,):
            for record in self._of_subset(split, subset):
                if subset is not None and record.fields is not None:
                    record = replace(record, fields={**record.fields, SUBSET: subset})
                yield record

    def has_test_set(self) -> bool:
        """Whether the source has a test set of its own.

        Raises InputError where several local files are given and none is named after the test split, or none of some
        subset.
        """
        if self.test_where is not None or self.test_path is not None:
            return True
        if self.path is None:
            return self.test_split is not None
        found = self._files_by_split()
        if self.test_split is not None and not any(one.test or one.single for one in found):
            there = shown([name for one in found for name in (*one.train, *one.left_out)])
            raise InputError(
                f"dataset.path={self.path}: no file is named after dataset.test_split={self.test_split} (there: "
                f"{there}); name another, or dataset.test_path, or hold out a share of the prompts: "
                "dataset.test_split=null"
            )
        subsets = self.subsets or ()  # without them there is one set of files
        having = [subset for subset, one in zip(subsets, found, strict=False) if one.test]
        lacking = [subset for subset in subsets if subset not in having]
        if having and lacking:
            raise InputError(
                f"dataset.path={self.path}: no file of {shown(lacking)} is named after dataset.test_split="
                f"{self.test_split}, as files of {shown(having)} are; give each subset one, ask for subsets that have "
                "one, name test files: dataset.test_path, or hold out a share of the prompts: dataset.test_split=null"
            )
        return any(one.test for one in found)

    def notes(self) -> list[str]:
        """What to tell the user about local files that are not read, and about some that are."""
        if self.path is None:
            return []
        found, notes = self._files_by_split(), []
        left_out, replaced = list[str](), list[str]()
        for subset, one in zip(self.subsets or (None,), found, strict=True):
            apart = self._tested_apart(subset)
            left_out += [name for name in one.left_out if one.files[name].resolve() not in apart]
            replaced += [name for name in one.test if one.files[name].resolve() not in apart]
        if self.test_path is not None and replaced:
            notes.append(
                f"dataset.path={self.path}: not read, since dataset.test_path={self.test_path} is the test set: "
                f"{shown(list(dict.fromkeys(replaced)))}"
            )
        if self.test_path is not None and self.test_where is not None:
            notes.append(
                f"dataset.test_where={dict(self.test_where)}: records with these values are not read, since "
                f"dataset.test_path={self.test_path} is the test set"
            )
        if left_out:
            splits = " nor ".join(split for split in (self.train_split, self.test_split) if split is not None)
            notes.append(f"dataset.path={self.path}: not read, named after neither {splits}: {shown(left_out)}")
        held_out = [name for one in found for name in one.train if _called(HELD_OUT, name)]
        if held_out and not all(one.single for one in found):
            notes.append(
                f"dataset.path={self.path}: trained on, though called a test set: {shown(held_out)}; to test on them: "
                "dataset.test_split=NAME"
            )
        if self.test_split is not None and self.test_path is None and any(one.single for one in found):
            notes.append(f"dataset.test_split={self.test_split} has no say in a single file: {self.path}")
        return notes

    def _tested_apart(self, subset: str | None) -> set[Path]:
        """The files of ``test_path``, which may lie in the folder that ``path`` names."""
        if self.test_path is None:
            return set()
        return {file.resolve() for file in match_files(of_subset(self.test_path, subset, self.subsets)).files}

    def _of_subset(self, split: Split, subset: str | None) -> Iterator[Record]:
        if self.test_where is None or (split == "test" and self.test_path is not None):
            return self._all(split, subset)
        wanted = split == "test"
        return (record for record in self._all("train", subset) if self._is_test(record) == wanted)

    def _is_test(self, record: Record) -> bool:
        assert self.test_where is not None
        fields = record.fields
        return fields is not None and all(
            value in (fields.get(name), typed(fields.get(name))) for name, value in self.test_where.items()
        )

    def _all(self, split: Split, subset: str | None) -> Iterator[Record]:
        if self.path is None:
            name = self.train_split if split == "train" else self.test_split
            assert self.hub is not None and self.snapshot is not None and name is not None
            return hub_records(self.hub, self.snapshot, split=name, config=self.config, data_dir=subset)
        if split == "test" and self.test_path is not None:
            return records(self._filled(self.test_path, subset, "dataset.test_path"), "dataset.test_path")
        of = self._of_files(subset)
        named = of.test if split == "test" else of.train
        path = self._filled(self.path, subset, "dataset.path")
        if split == "train" and not named:
            raise InputError(
                f"dataset.path={path}: all files there are named {self.test_split}, none to train on; give others, or "
                "train on these: dataset.test_split=null"
            )
        return records_of([of.files[name] for name in named], f"dataset.path={path}")

    def _files_by_split(self) -> list[FilesBySplit]:
        return [self._of_files(subset) for subset in self.subsets or (None,)]

    def _of_files(self, subset: str | None) -> FilesBySplit:
        """The local files of both splits.  Raises InputError for a folder of several configurations."""
        assert self.path is not None
        path = self._filled(self.path, subset, "dataset.path")
        found = readable(path, "dataset.path")
        files = {found.name(file): file for file in found.files}
        if found.folder:
            self._refuse_configurations(path, found)
        if found.single or self.test_where is not None:
            return FilesBySplit(files=files, train=[*files], single=found.single)
        splits = {name: self._split_named(name) for name in files}
        named = "train" if "train" in splits.values() else None
        return FilesBySplit(
            files=files,
            train=[name for name in files if splits[name] == named],
            test=[name for name in files if splits[name] == "test"],
            left_out=[name for name in files if splits[name] not in (named, "test")],
        )

    def _split_named(self, name: str) -> Split | None:
        """The split that the name of a file, else of the nearest folder above it, says; None where none does."""
        for part in reversed(stem(name).split("/")):
            if self.test_split is not None and _called(re.escape(self.test_split), part):
                return "test"
            if _called(re.escape(self.train_split), part):
                return "train"
        return None

    def _refuse_configurations(self, path: str, found: MatchedFiles) -> None:
        """Raises InputError where rows stand both directly in a folder and in folders below it."""
        parts = [found.name(file).split("/") for file in found.files]
        direct = [file for file, part in zip(found.files, parts, strict=True) if len(part) == 1]
        below = sorted({part[0] for part in parts if len(part) > 1 and self._split_named(part[0]) is None})
        if direct and below:
            ends = sorted({file.name[len(stem(file.name)) :] for file in direct})
            own = ", ".join(f"dataset.path='{path}/*{end}'" for end in ends)
            raise InputError(
                f"dataset.path={path}: several configurations: {shown([file.name for file in direct])} directly in "
                f"it, and the folders {shown(below)}; name one: {own}, or dataset.path={path}/{below[0]}; or all "
                f"files together: dataset.path='{path}/**'"
            )

    def _filled(self, path: str, subset: str | None, key: str) -> str:
        """Where a subset stands in ``path``.  Raises InputError where it should be a folder and is none."""
        filled = of_subset(path, subset, self.subsets)
        if filled != path and PLACEHOLDER not in path and not Path(filled).is_dir():
            root = Path(os.path.expanduser(path))
            found = ", ".join(sorted(place.name for place in root.iterdir() if place.is_dir())) if root.is_dir() else ""
            raise InputError(
                f"{key}={path}: no folder {subset!r} (there: {found or 'none'}); it must hold one folder per subset, "
                "or say where a subset stands: 'FOLDER/{subset}.jsonl'"
            )
        return filled
