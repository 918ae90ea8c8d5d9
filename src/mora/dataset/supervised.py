"""The records of ``dataset.supervised_path``: prompts, each with the answer that is to be imitated."""

from __future__ import annotations

from collections.abc import Iterator

from mora.dataset import answers, schema
from mora.dataset.read import records
from mora.dataset.row_parser import RowParser
from mora.dataset.schema import BadRow, Fields
from mora.errors import InputError
from mora.types import Row

KEY = "dataset.supervised_path"
ELSEWHERE = (  # columns of other forms, and the datasets that make examples of them
    (("messages", "conversations", "completion"), "messages"),
    (("instruction",), "alpaca"),
)
PAIRED = ("response_0", "response_1", "chosen", "rejected")


def rows(path: str, parser: RowParser) -> Iterator[Row]:
    """The answers in the files that ``path`` means; records without one are rejected.

    Raises InputError, with what reads them instead, where not one record has an answer.
    """
    count, before, without = 0, len(parser.rejected), list[Fields]()

    def answer(fields: Fields) -> Iterator[Row]:
        if schema.given(fields, "response"):
            yield from answers.rows(schema.text(fields, "prompt"), schema.text(fields, "response"), fields, {})
            return
        if not without:
            without.append(fields)
        raise BadRow("missing_field", f"field 'response' is missing: {KEY} reads a prompt and its response")

    for row in parser.rows(records(path, KEY), answer):
        count += 1
        yield row
    if count:
        return
    bad = parser.rejected[before:]
    if not bad:
        raise InputError(f"{KEY}={path}: all answers are marked bad, and a bad one is never imitated; give good ones")
    said = f"{KEY}={path}: no record has a prompt and a response ({bad[0].where}: {bad[0].reason})"
    raise InputError(f"{said}; {_instead(without[0], path)}" if without else f"{said}; correct them")


def _instead(fields: Fields, path: str) -> str:
    """What to do with records of another form, by the columns of one."""
    if schema.given(fields, *PAIRED):
        return (
            f"pairs belong in dataset.path, and {KEY}=null imitates those of their answers that most objectives prefer"
        )
    for columns, name in ELSEWHERE:
        if schema.given(fields, *columns):
            return (
                f"dataset={name} reads such records: fine-tune on them first, algo=sft dataset={name} "
                f"dataset.path={path}, and name its run, start.policy=RUN"
            )
    if schema.given(fields, "prompt"):
        return "prompts without an answer belong in dataset.path"
    return f"columns that exist: {', '.join(fields) or 'none'}"
