"""`dataset=hh_rlhf` and `hh_red_team`: transcripts of Human and Assistant (Bai et al., 2022; Ganguli et al., 2022)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mora.dataset import schema
from mora.dataset.pairs import ranked_pair
from mora.dataset.schema import BadRow, Fields, record_schema
from mora.turns import Turn
from mora.types import Row

SUBSETS = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")
KNOWN = ("helpful", "harmless")
_SPEAKER = re.compile(r"(?:\A\s*|(?:\r?\n){2})(Human|Assistant):")


@record_schema(
    known=KNOWN,
    label="{}-base/chosen",
    chosen=schema.text,
    rejected=schema.text,
    subset=schema.present(schema.one_of(*SUBSETS)),
)
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A pair of last answers, labelled for the objective that its folder (``subset``) begins with.

    Prompts may differ in white space around turns, and in nothing else.  A record of a folder whose objective is not
    asked for gives no row.
    """
    prompt, chosen = _last(values["chosen"], "chosen")
    other, rejected = _last(values["rejected"], "rejected")
    if prompt != other:
        raise BadRow("broken_conversation", "'chosen' and 'rejected' differ before their last answers")
    row = ranked_pair(
        prompt, chosen, rejected, [o for o, name in names.items() if values["subset"].startswith(f"{name}-")]
    )
    if row.labels:
        yield row


@record_schema(label="{}", transcript=schema.text)
def red_team(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A prompt: the first turn of an attempt, which must be the human's."""
    yield Row(prompt=schema.conversation(turns(values["transcript"], "transcript")[:1]))


def turns(transcript: str, column: str) -> list[Turn]:
    """The turns of a transcript, less white space around them.  Raises BadRow where it begins with another text."""
    before, *parts = _SPEAKER.split(transcript)
    if before.strip() or not parts:
        raise BadRow("broken_conversation", f"{column!r} does not begin with Human: or Assistant:")
    return [
        {"role": "user" if speaker == "Human" else "assistant", "content": content.strip()}
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def _last(transcript: str, column: str) -> tuple[str, str]:
    """The prompt and the answer: what stands before and in the last turn, which must be the assistant's."""
    *prompt, last = turns(transcript, column)
    if last["role"] != "assistant":
        raise BadRow("broken_conversation", f"{column!r} does not end with a turn of the assistant")
    if not last["content"]:
        raise BadRow("empty_text", f"the last answer of {column!r} is empty")
    return schema.conversation(prompt), last["content"]
