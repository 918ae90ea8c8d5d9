"""Rows tokenized once, by several processes, into files that are read through memory maps and found by content.

A folder of tokens is ``tokens.json``, the ids of all texts one after the other, and a file of fixed width for each of
``COLUMNS``.  Its name is a hash of the rows' texts, of the tokenizer and of the limits; it appears when it is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mora.dataset.columns import card_of, mapped
from mora.dataset.encode import EncodedRows, Encoder, Overlong
from mora.dataset.store import ROWS_AT_ONCE, StoredRows, take, texts_digest
from mora.dataset.tokenizing import SHOWN, Chunk, chunks
from mora.dataset.view import Index, Ints, column, narrowed
from mora.errors import InputError
from mora.files import exclusive, new_folder, write_json
from mora.manifest import check_content
from mora.types import Row, Tokens

SCHEMA = 1  # of the folder
CARD = "tokens.json"
COLUMNS = {"sizes": ("<i4", 3), "lengths": ("<i4", 1), "longest": ("<i4", 1)}  # per row; sizes: prompt, responses
DISTINCT = 2**20  # texts that are counted at once


def tokenized(rows: Sequence[Row], encoder: Encoder, root: Path | str, *, workers: int) -> TokenizedRows:
    """``rows`` with the tokens that ``encoder`` gives them, from a folder below ``root`` that is made where it lacks.

    ``workers`` processes tokenize; 1: this one.  Processes that ask for the same folder wait for the one that makes it.
    Raises InputError about all rows that the encoder refuses.
    """
    if workers < 1:
        raise ValueError(f"workers must be >= 1, not {workers}")
    texts = rows.texts if isinstance(rows, StoredRows) else texts_digest(rows)
    name = hashlib.sha256(json.dumps([SCHEMA, texts, encoder.key]).encode()).hexdigest()[:32]
    folder = Path(root) / f"tokens-{name}"
    if not (folder / CARD).is_file():
        with exclusive(folder):
            if not (folder / CARD).is_file():
                _write(folder, rows, encoder, workers)
    check_content(folder, f"delete the folder {folder}, and it is made again")
    return TokenizedRows.open(folder, rows)


class TokenizedRows(EncodedRows):
    """Rows with their tokens.  A row carries its ids (``Row.tokens``), and batches of it are made from these.

    Nothing is read before it is asked for.  A slice and ``select`` are views; a view by indices holds these.
    """

    def __init__(self, files: _Files, rows: Sequence[Row], index: Index) -> None:
        self._files, self._rows, self._index = files, rows, index
        self.key = str(files.card["key"])

    @classmethod
    def open(cls, folder: Path | str, rows: Sequence[Row]) -> TokenizedRows:
        """The tokens in ``folder`` of these rows.  Raises InputError where it is damaged or of another schema."""
        files = _Files(Path(folder))
        if files.rows != len(rows):
            raise InputError(f"{folder}: tokens of {files.rows} rows, not of {len(rows)}; delete the folder")
        return cls(files, rows, range(len(rows)))

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> TokenizedRows: ...
    def __getitem__(self, index: int | slice) -> Row | TokenizedRows:
        if isinstance(index, slice):
            return TokenizedRows(self._files, self._rows, self._index[index])
        place = int(self._index[index])
        return self._with_tokens(self._rows[place], place)

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), ROWS_AT_ONCE):
            places = np.asarray(self._index[start : start + ROWS_AT_ONCE])
            for row, place in zip(take(self._rows, places), places.tolist(), strict=True):
                yield self._with_tokens(row, place)

    @property
    def folder(self) -> Path:
        """Where the tokens lie."""
        return self._files.folder

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each prompt with its longest answer, both cut to their limits (rows,)."""
        return column(self._files.columns["lengths"], self._index)

    @property
    def longest(self) -> NDArray[np.int32]:
        """Tokens of each row's longest answer before it is cut (rows,)."""
        return column(self._files.columns["longest"], self._index)

    def counts(self, overlong: Overlong) -> Mapping[str, int]:
        """Distinct texts of all rows of the folder, and how many of them were cut."""
        counted = dict(self._files.card["counts"]["dropped" if overlong == "drop" else "all"])
        if overlong != "cut_answer":
            counted["answers_cut"] = 0
        return counted

    def select(self, indices: Sequence[int] | Ints) -> TokenizedRows:
        """A view of some rows, in the order given."""
        return TokenizedRows(self._files, self._rows, narrowed(self._index, indices))

    def _with_tokens(self, row: Row, place: int) -> Row:
        files = self._files
        start, sizes = int(files.offsets[place]), files.columns["sizes"][place].tolist()
        parts = []
        for size in sizes[: 1 + len(row.responses)]:
            parts.append(files.ids[start : start + size])
            start += size
        longest = int(files.columns["longest"][place])
        texts = (row.prompt, row.responses)
        made = Tokens(key=self.key, texts=texts, prompt=parts[0], responses=tuple(parts[1:]), longest=longest)
        return replace(row, tokens=made)


class _Files:
    """An opened folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.card = folder, card_of(folder, CARD, SCHEMA)
        self.rows = int(self.card["rows"])
        of = {name: mapped(folder / f"{name}.bin", dtype, self.rows, width) for name, (dtype, width) in COLUMNS.items()}
        self.columns = {name: np.asarray(values) for name, values in of.items()}  # still mapped, and quicker to slice
        self.offsets = np.asarray(mapped(folder / "offsets.bin", "<i8", self.rows))
        self.ids = np.asarray(mapped(folder / "ids.bin", "<i4", int(self.card["tokens"])))


def _write(folder: Path, rows: Sequence[Row], encoder: Encoder, workers: int) -> None:
    """Tokenize ``rows`` into ``folder``.  Raises InputError about all that are refused."""
    problems: list[str] = []
    refused = total = 0
    with new_folder(folder, sealed=True) as made:
        names = ["ids", "offsets", *COLUMNS, "prompts", "answers"]
        streams = {name: (made / f"{name}.bin").open("wb") for name in names}
        try:
            for chunk in chunks(rows, encoder, workers):
                refused += len(chunk.problems)
                problems += chunk.problems[: SHOWN - len(problems)]
                for name, values in _columns(chunk, total).items():
                    streams[name].write(values.tobytes())
                total += len(chunk.ids)
        finally:
            for stream in streams.values():
                stream.close()
        if refused:
            more = [f"  ... and {refused - len(problems)} more"] if refused > len(problems) else []
            raise InputError("\n".join([f"{refused} of {len(rows)} rows cannot be encoded:", *problems, *more]))
        counts = _counts(made, len(rows), encoder.max_response)
        card = {"schema": SCHEMA, "key": encoder.key, "rows": len(rows), "tokens": total, "counts": counts}
        write_json(made / CARD, card)


def _columns(chunk: Chunk, before: int) -> dict[str, NDArray[Any]]:
    """What a chunk adds to each file; ``before`` tokens stand before it."""
    sizes = np.maximum(chunk.sizes, 0)
    ends = np.cumsum(sizes.sum(1, dtype=np.int64))
    return {
        "ids": chunk.ids.astype("<i4"),
        "offsets": (before + ends - sizes.sum(1)).astype("<i8"),
        "sizes": chunk.sizes.astype("<i4"),
        "lengths": (sizes[:, 0] + sizes[:, 1:].max(1)).astype("<i4"),
        "longest": chunk.longest.astype("<i4"),
        "prompts": chunk.prompts,
        "answers": chunk.answers,
    }


def _counts(folder: Path, rows: int, max_response: int) -> dict[str, dict[str, int]]:
    """Distinct texts and those that were cut: of all rows, and with the prompts of the rows whose answers fit."""
    longest = mapped(folder / "longest.bin", "<i4", rows)
    prompts = mapped(folder / "prompts.bin", "<u8", rows)
    size = (folder / "answers.bin").stat().st_size // 8
    answers = _distinct(mapped(folder / "answers.bin", "<u8", size), None)
    fitting = _distinct(prompts, lambda part: longest[part] <= max_response)
    every = _distinct(prompts, None)
    for name in ("prompts", "answers"):
        (folder / f"{name}.bin").unlink()

    def named(of: tuple[int, int]) -> dict[str, int]:
        return {"prompts": of[0], "prompts_cut": of[1], "answers": answers[0], "answers_cut": answers[1]}

    return {"all": named(every), "dropped": named(fitting)}


def _distinct(marks: NDArray[np.uint64], kept: Any) -> tuple[int, int]:
    """How many different marks there are, and how many of them are odd (texts that were cut)."""
    parts = max(-(-len(marks) // DISTINCT), 1)  # by hash, one after the other
    distinct = odd = 0
    for number in range(parts):
        found = []
        for start in range(0, len(marks), DISTINCT):
            some = np.asarray(marks[start : start + DISTINCT])
            mine = (some >> np.uint64(1)) % np.uint64(parts) == number
            if kept is not None:
                mine &= kept(slice(start, start + DISTINCT))
            found.append(some[mine])
        unique = np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)
        distinct += len(unique)
        odd += int((unique & np.uint64(1)).sum())
    return distinct, odd
