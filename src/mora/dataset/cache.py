"""Corpora in files, which are found again by the content of all that they are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mora.dataset.corpus import KINDS, SPLITS, Corpus, Splits
from mora.dataset.pinned import by_content, code_of
from mora.dataset.record_parser import Rejected
from mora.dataset.row_store import FolderStore, MemoryStore, RowStore, split_name
from mora.dataset.store import StoredRows
from mora.files import exclusive, new_folder, read_json, write_json
from mora.manifest import check_content

CARD, QUARANTINE = "corpus.json", "quarantine.json"
MADE_AGAIN = "delete the folder {}, and it is made again"
LIMITS = ("max_prompt", "max_response", "overlong")  # of tokens: they change no row
PLAIN = ("name", "objectives", "fingerprint", "notes", "records", "commits", "overlap")  # fields of a corpus


@dataclass(frozen=True)
class DatasetCache:
    """Corpora in files below ``root``, each under a hash of all that it is made from.

    ``section`` is the dataset's section of the configuration, ``rules`` those that label pairs.  In the hash local
    files and functions outside mora stand by their content, datasets of the hub by commit; mora's own readers and rules
    are part of it, too.
    """

    root: Path
    section: Mapping[str, Any]
    rules: Mapping[str, Any] = field(default_factory=dict)

    def corpus(self, objectives: tuple[str, ...], make: Callable[[RowStore], Corpus], *more: Any) -> Corpus:
        """The corpus of these objectives, and of ``more`` that it depends on; made where it is not there yet.

        Of several processes that ask, one makes it.
        """
        section = {key: value for key, value in self.section.items() if key not in LIMITS}
        covered = [
            by_content(section, objectives),
            list(objectives),
            list(more),
            _readers(),
            code_of(section),
        ]
        covered += [self.rules, code_of(self.rules)] if self.rules else []
        name = hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:32]
        folder = self.root / f"rows-{name}"
        if not (folder / CARD).is_file():
            with exclusive(folder):
                if not (folder / CARD).is_file():
                    with new_folder(folder, sealed=True) as made:
                        _save(make(FolderStore(made, objectives)), made)
        return _load(folder, self.section)

    def part(self, *path: str | int) -> DatasetCache:
        """The same for a section below, such as that of the source of a part."""
        section: Any = self.section
        for step in path:
            section = section[step]
        return DatasetCache(self.root, section, self.rules)


def load_or_make(
    cache: DatasetCache | None, objectives: tuple[str, ...], assemble: Callable[[RowStore], Corpus], *more: Any
) -> Corpus:
    """The corpus that ``assemble`` writes: from the cache, or without one in memory."""
    return assemble(MemoryStore()) if cache is None else cache.corpus(objectives, assemble, *more)


def _save(corpus: Corpus, folder: Path) -> None:
    write_json(folder / QUARANTINE, [json.loads(json.dumps(asdict(bad), default=str)) for bad in corpus.quarantine])
    write_json(folder / CARD, {name: getattr(corpus, name) for name in PLAIN})


def _load(folder: Path, section: Mapping[str, Any]) -> Corpus:
    check_content(folder, MADE_AGAIN.format(folder))
    card = read_json(folder / CARD)
    kinds: dict[str, Splits] = {
        kind: {side: StoredRows.open(folder / split_name(side, kind)) for side in SPLITS} for kind in KINDS
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
