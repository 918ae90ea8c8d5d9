"""The rows of ``data_throughput.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

Texts = tuple[str, str]


def read(files: list[str]) -> list[Texts]:
    """Prompts with an answer: both answers of a pair by themselves."""
    found = []
    for file in files:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            answers = [fields[key] for key in ("response", "response_0", "response_1") if key in fields]
            found += [(fields["prompt"], answer) for answer in answers]
    return found


def repeated(texts: list[Texts], rows: int) -> Iterator[Texts]:
    """So many rows; each copy of a text has another number in it, so none comes twice but for what the files repeat."""
    for number in range(rows):
        copy, place = divmod(number, len(texts))
        prompt, answer = texts[place]
        yield f"{copy}. {prompt}", f"{answer} {copy}"
