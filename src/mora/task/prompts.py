"""`task=prompts`: prompts for training by reinforcement learning, each once, without those held out elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mora import bounds
from mora.bounds import Count
from mora.dataset.read import Record, records
from mora.dataset.record_parser import RecordParser
from mora.errors import InputError
from mora.task.base import Part, Task
from mora.task.prompt import prompt
from mora.task.row_counts import RowCounts
from mora.turns import opening, said, turns_of


@dataclass(kw_only=True)
class Prompts(Task):
    """The prompts of rows of any form.  Raises InputError for limits below 1 and an unknown way to match."""

    exclude: str | list[str] | None
    match: Literal["exact", "normalized"]
    max_characters: Count | None
    max_words: Count | None

    def __post_init__(self) -> None:
        bounds.check(self, "task")
        if self.match not in ("exact", "normalized"):
            raise InputError(f"task.match={self.match}: must be exact or normalized")

    def read(self) -> Sequence[tuple[str, str]]:
        """The files whose prompts are excluded."""
        paths = [self.exclude] if isinstance(self.exclude, str) else self.exclude or []
        return [("task.exclude", path) for path in paths]

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """Each prompt once, in the order of first appearance; one of several turns as ``messages``."""
        held_out = self._held_out()
        seen: set[str] = set()
        for text in counts.parsed(records, prompt, rewrites=True):
            key, begun = self._key(text), self._key(opening(text))
            reason = self._too_long(text)
            if begun in held_out:
                reason = f"in {held_out[begun]}"
            elif reason is None and key in seen:
                reason = "repeats a prompt"
            if reason is not None:
                counts.left_out[reason] += 1
                continue
            seen.add(key)
            turns = turns_of(text)
            yield "", {"prompt": text} if len(turns) == 1 else {"messages": turns}

    def _held_out(self) -> dict[str, str]:
        """The keys of the first user turns of excluded prompts, each with its file.

        Raises InputError for a row without a prompt.
        """
        found: dict[str, str] = {}
        for key, path in self.read():
            parser = RecordParser()
            for _, text in parser.parse(records(path, key), prompt):
                found.setdefault(self._key(opening(text)), path)
            if parser.rejected:
                first = parser.rejected[0]
                raise InputError(
                    f"{key}: {len(parser.rejected)} rows hold no prompt, the first is {first.where}: {first.reason}; "
                    "correct the file, or name another"
                )
        return found

    def _key(self, text: str) -> str:
        return text if self.match == "exact" else normalized("\n".join(turn["content"] for turn in said(text)))

    def _too_long(self, text: str) -> str | None:
        if self.max_characters is not None and len(text) > self.max_characters:
            return f"longer than {self.max_characters} characters"
        if self.max_words is not None and len(text.split()) > self.max_words:
            return f"longer than {self.max_words} words"
        return None


def normalized(text: str) -> str:
    """The text in lower case, its letters and digits only, one space between words; as it is where it has none."""
    kept = "".join(letter if letter.isalnum() else " " for letter in text.casefold())
    return " ".join(kept.split()) or text
