"""Where the rows of a corpus are put while a source is read: in memory, or in files that are found again by content."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mora.dataset.corpus import KINDS, SPLITS, Corpus, Splits
from mora.dataset.pinned import by_content
from mora.dataset.sieve import Rejected
from mora.dataset.store import RowWriter, StoredRows
from mora.files import alone, new_folder, read_json, write_json
from mora.manifest import check_content
from mora.types import Row

CARD, QUARANTINE = "corpus.json", "quarantine.json"
MADE_AGAIN = "delete the folder {}, and it is made again"
LIMITS = ("max_prompt", "max_response", "overlong")  # of tokens: they change no row
PLAIN = ("name", "objectives", "fingerprint", "notes", "records", "commits", "overlap")  # fields of a corpus


class Writer(AbstractContextManager["Writer"], Protocol):
    """Takes rows one by one."""

    def add(self, row: Row) -> None:
        """One more row."""


class Shelf(Protocol):
    """Sequences of rows under names, each written once and then read."""

    def writer(self, name: str) -> Writer:
        """A new sequence."""

    def rows(self, name: str) -> Sequence[Row]:
        """The sequence that was written under ``name``."""


class _List(list[Row]):
    """A list of rows as a writer."""

    def __enter__(self) -> _List:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def add(self, row: Row) -> None:
        """One more row."""
        self.append(row)


class Memory:
    """A shelf of lists."""

    def __init__(self) -> None:
        self._lists: dict[str, _List] = {}

    def writer(self, name: str) -> Writer:
        """A new list."""
        self._lists[name] = _List()
        return self._lists[name]

    def rows(self, name: str) -> Sequence[Row]:
        """The list."""
        return self._lists[name]


class Files:
    """A shelf of folders of stored rows, all with the same objectives."""

    def __init__(self, folder: Path, objectives: Sequence[str]) -> None:
        self._folder, self._objectives = folder, tuple(objectives)

    def writer(self, name: str) -> Writer:
        """A new folder of rows."""
        return RowWriter(self._folder / name, self._objectives)

    def rows(self, name: str) -> Sequence[Row]:
        """The rows in the folder, memory-mapped."""
        return StoredRows.open(self._folder / name)


def written(shelf: Shelf, name: str, rows: Iterable[Row]) -> Sequence[Row]:
    """``rows`` put on the shelf."""
    with shelf.writer(name) as writer:
        for row in rows:
            writer.add(row)
    return shelf.rows(name)


@dataclass(frozen=True)
class Cache:
    """Corpora in files below ``root``, each under a hash of all that it is made from.

    ``section`` is the dataset's section of the configuration: with local files and foreign functions it is hashed by
    their content, with the hub by commit.  mora's own readers are part of the hash, too.
    """

    root: Path
    section: Mapping[str, Any]

    def corpus(self, objectives: tuple[str, ...], make: Callable[[Shelf], Corpus], *more: Any) -> Corpus:
        """The corpus of these objectives, and of ``more`` that it depends on; made where it is not there yet.

        Of several processes that ask, one makes it.
        """
        section = {key: value for key, value in self.section.items() if key not in LIMITS}
        covered = [by_content(section, objectives), list(objectives), list(more), _readers(), sorted(_foreign(section))]
        name = hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:32]
        folder = self.root / f"rows-{name}"
        if not (folder / CARD).is_file():
            with alone(folder):
                if not (folder / CARD).is_file():
                    with new_folder(folder, sealed=True) as made:
                        _keep(make(Files(made, objectives)), made)
        return _kept(folder, self.section)

    def part(self, *path: str | int) -> Cache:
        """The same for a section below, such as that of the source of a part."""
        section: Any = self.section
        for step in path:
            section = section[step]
        return Cache(self.root, section)


def make(cache: Cache | None, objectives: tuple[str, ...], assemble: Callable[[Shelf], Corpus], *more: Any) -> Corpus:
    """The corpus that ``assemble`` puts on a shelf: of the cache, or without one in memory."""
    return assemble(Memory()) if cache is None else cache.corpus(objectives, assemble, *more)


def place_of(side: str, kind: str) -> str:
    """The name of a corpus' sequence of rows on its shelf."""
    return f"{side}-{kind}"


def _keep(corpus: Corpus, folder: Path) -> None:
    write_json(folder / QUARANTINE, [json.loads(json.dumps(asdict(bad), default=str)) for bad in corpus.quarantine])
    write_json(folder / CARD, {name: getattr(corpus, name) for name in PLAIN})


def _kept(folder: Path, section: Mapping[str, Any]) -> Corpus:
    check_content(folder, MADE_AGAIN.format(folder))
    card = read_json(folder / CARD)
    kinds: dict[str, Splits] = {
        kind: {side: StoredRows.open(folder / place_of(side, kind)) for side in SPLITS} for kind in KINDS
    }
    return Corpus(
        **{name: card[name] for name in PLAIN if name != "objectives"},
        objectives=tuple(card["objectives"]),
        supervised=kinds["supervised"],
        pairs=kinds["pairs"],
        scored=kinds["scored"],
        prompts=kinds["prompts"],
        quarantine=[Rejected(**bad) for bad in read_json(folder / QUARANTINE)],
        **{key: section[key] for key in LIMITS},
    )


def _readers() -> str:
    """A hash of this package: with other code, rows are read anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _foreign(section: Any) -> Iterator[str]:
    """Hashes of the modules outside mora whose objects a section names."""
    if isinstance(section, Mapping):
        target = section.get("_target_")
        if isinstance(target, str) and not target.startswith("mora."):
            spec = importlib.util.find_spec(target.rpartition(".")[0])
            if spec is not None and spec.origin is not None:
                yield hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
        for value in section.values():
            yield from _foreign(value)
    elif isinstance(section, list):
        for item in section:
            yield from _foreign(item)
