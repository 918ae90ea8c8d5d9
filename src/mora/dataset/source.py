"""A source of rows: records of the hub or of local files, read by one function and held to what it declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal

from mora.bounds import AtLeastTwo, Count, Share
from mora.dataset import supervised
from mora.dataset.assemble import SplitWriter, build_corpus
from mora.dataset.cache import DatasetCache, load_or_make
from mora.dataset.corpus import Corpus
from mora.dataset.encode import Overlong
from mora.dataset.hub import hub_note
from mora.dataset.pairing import Pairing
from mora.dataset.pinned import HubSnapshot, hub_snapshot
from mora.dataset.read import Record
from mora.dataset.record_parser import OnBadRow
from mora.dataset.row_parser import FAILURES, RowParser, require_labels
from mora.dataset.row_store import RowStore
from mora.dataset.rules import Rules
from mora.dataset.schema import BadRow, Fields, RecordSchema
from mora.dataset.source_records import SourceRecords
from mora.errors import InputError
from mora.types import Row


@dataclass(kw_only=True)
class Source:
    """`dataset=jsonl` and all published sources; the fields are the keys of conf/dataset/jsonl.yaml.

    ``read(fields, names)`` yields the rows of a record: without a response a prompt, with one a supervised answer or,
    with ratings, a scored one, with two a pair.  ``names`` are the objectives, each with what the source calls it
    (``columns``).  A ``RecordSchema`` also declares its columns; any other function may be named as well, and whatever
    error it raises on a record makes that a bad row.
    """

    name: str
    read: Callable[..., Iterable[Row]]
    columns: dict[str, str] | None
    hub: str | None
    config: str | None
    subsets: list[str] | Literal["objectives"] | None
    revision: str | None
    strict: bool
    train_split: str
    test_split: str | None
    test_where: dict[str, Any] | None
    path: str | None
    test_path: str | None
    test_share: Share
    supervised_path: str | None
    pairing: Pairing | None
    on_bad_row: OnBadRow
    max_bad_share: Share
    max_prompt: Count
    max_response: AtLeastTwo
    overlong: Overlong

    def load(
        self,
        objectives: tuple[str, ...],
        seed: int,
        cache: DatasetCache | None = None,
        *,
        rules: Rules | None = None,
        whole: bool = True,
    ) -> Corpus:
        """The corpus, whatever ``seed``, in files of the ``cache``, or without one in memory.

        Objectives of ``rules`` are not looked for in the source: their labels are the rules' own.

        Raises InputError about missing files and bad rows and, where it is the ``whole`` data of a run and no part of a
        mixture, about objectives that are unknown or without a label.
        """
        objectives = tuple(objectives)
        by_rule = () if rules is None else rules.objectives
        names = self._names(tuple(name for name in objectives if name not in by_rule), whole=whole)
        return load_or_make(
            cache, objectives, lambda store: self._corpus(store, objectives, names, rules, whole=whole), whole
        )

    def _corpus(
        self,
        store: RowStore,
        objectives: tuple[str, ...],
        names: Mapping[str, str],
        rules: Rules | None,
        *,
        whole: bool,
    ) -> Corpus:
        snapshot, notes = self._snapshot()
        parser = RowParser(self.on_bad_row, self.max_bad_share)
        source = self._source_records(snapshot, names)
        notes += source.notes()
        own_test = source.has_test_set()
        with SplitWriter(store, objectives, self.test_share, own_test=own_test, rules=rules) as splits:
            if splits.own_test:
                for row in self._rows(parser, source.records("test"), names):
                    splits.test(row)
            for row in self._rows(parser, source.records("train"), names):
                splits.train(row)
            if self.supervised_path is not None:
                for row in supervised.rows(self.supervised_path, parser):
                    splits.supervised(row)
        notes += parser.close() + parser.notes()
        parser.require_row(self._said, objectives)
        splits.check()
        if whole and (splits.unlabelled or any(splits.counts["train"][kind] for kind in ("pairs", "scored"))):
            self._require_labels(splits.labelled, names, parser.columns)
        return build_corpus(
            splits,
            name=self.name,
            merge=self.subsets is not None,
            pairing=self.pairing,
            notes=notes,
            max_prompt=self.max_prompt,
            max_response=self.max_response,
            overlong=self.overlong,
            quarantine=parser.rejected,
            records=parser.summary() | {"columns": sorted(parser.columns)},
            commits={} if snapshot is None else {str(self.hub): snapshot.commit},
        )

    @property
    def known(self) -> tuple[str, ...] | None:
        """The objectives that the source labels; None: whatever the user names."""
        schema = _schema(self.read)
        return None if schema is None or schema.known is None else tuple(self.columns or schema.known)

    @property
    def _said(self) -> str:
        return str(self.hub) if self.path is None else f"dataset.path={self.path}"

    def tried(self, fields: Fields, objectives: Sequence[str]) -> list[Row]:
        """The rows of one record, or none where it is no record of this source."""
        try:
            return list(_plain(self.read)(fields, self._names(tuple(objectives), whole=False)))
        except (BadRow, *FAILURES):
            return []

    def first(self, objectives: Sequence[str], count: int) -> list[Fields]:
        """The first records to train on that can be read, of local files."""
        source = self._source_records(None, self._names(tuple(objectives), whole=False))
        found = (record.fields for record in source.records("train") if record.fields is not None)
        return list(islice(found, count))

    def _require_labels(self, labelled: set[str], names: Mapping[str, str], seen: Iterable[str]) -> None:
        schema = _schema(self.read)
        columns = {o: schema.label.format(name) for o, name in names.items()} if schema is not None else {}
        require_labels(labelled, names, columns, seen, self._said)

    def _names(self, objectives: tuple[str, ...], *, whole: bool) -> dict[str, str]:
        """What the source calls each objective that it has.  Raises InputError about one that it lacks if ``whole``."""
        if self.path is None and self.hub is None:
            raise InputError("dataset.path is not set: name a file, a folder or a glob pattern of files")
        if self.path is None and self.revision is None and self.strict:
            raise InputError(
                f"dataset.strict=true and dataset.revision=null: name the commit of {self.hub} to read, or a local "
                "copy (dataset.path=...)"
            )
        schema = _schema(self.read)
        known = schema.known if schema is not None else None
        strange = [name for name in (self.columns or {}).values() if known is not None and name not in known]
        if strange:
            raise InputError(f"dataset.columns: {', '.join(strange)}: the source has {', '.join(known or ())}")
        if known is None:
            return {objective: (self.columns or {}).get(objective, objective) for objective in objectives}
        names = self.columns or dict(zip(known, known, strict=True))
        unknown = [objective for objective in objectives if objective not in names]
        if unknown and whole:
            raise InputError(f"objectives.names: {', '.join(unknown)}: {self.name} has {', '.join(names)}")
        return {objective: names[objective] for objective in objectives if objective in names}

    def _snapshot(self) -> tuple[HubSnapshot | None, list[str]]:
        if self.path is not None or self.hub is None:
            return None, []
        snapshot = hub_snapshot(self.hub, self.revision)
        return snapshot, [hub_note(self.hub, snapshot)]

    def _source_records(self, snapshot: HubSnapshot | None, names: Mapping[str, str]) -> SourceRecords:
        subsets = tuple(names.values()) if self.subsets == "objectives" else self.subsets
        return SourceRecords(
            hub=self.hub,
            config=self.config,
            snapshot=snapshot,
            subsets=None if subsets is None else tuple(subsets),
            train_split=self.train_split,
            test_split=self.test_split,
            test_where=self.test_where,
            path=self.path,
            test_path=self.test_path,
        )

    def _rows(self, parser: RowParser, found: Iterable[Record], names: Mapping[str, str]) -> Iterator[Row]:
        read, schema = _plain(self.read), _schema(self.read)
        prompts = () if schema is None else schema.prompts
        return parser.rows(found, lambda fields: read(fields, names), custom=schema is None, prompts=prompts)


def _plain(read: Callable[..., Any]) -> Callable[..., Any]:
    """``read`` without the check that Hydra's partial makes at every call, for a schema of mora."""
    schema = _schema(read)
    return partial(schema, **read.keywords) if schema is not None and isinstance(read, partial) else read


def _schema(read: Callable[..., Any]) -> RecordSchema | None:
    """The schema behind ``read``; None for a function outside mora."""
    inner = read.func if isinstance(read, partial) else read
    return inner if isinstance(inner, RecordSchema) else None
