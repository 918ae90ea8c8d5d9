"""`dataset=truthfulqa` and `truthfulqa_choices`: correct over incorrect answers to a question (Lin et al., 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from mora.bounds import Count
from mora.dataset import schema
from mora.dataset.pairs import ranked_pair
from mora.dataset.schema import BadRow, Column, Fields, record_schema
from mora.types import Row, content_id

KNOWN = ("truthful",)


def _spelled(other: str, column: Column) -> Column:
    """A column that the benchmark's own CSV calls ``other``."""
    return lambda fields, name: column(fields, other if name not in fields and other in fields else name)


def _answers(fields: Fields, column: str) -> tuple[str, ...]:
    """Answers, at least one: a list of texts, or one text with ``;`` between them."""
    if isinstance(fields.get(column), str):
        parts = (part.strip() for part in schema.any_text(fields, column).split(";"))
        found = tuple(part for part in parts if part)
    else:
        found = schema.texts(fields, column)
    if not found:
        raise BadRow("empty_text", f"{column!r} holds no answer")
    return found


@record_schema(
    known=KNOWN,
    label="correct_answers",
    question=_spelled("Question", schema.text),
    best_answer=_spelled("Best Answer", schema.text),
    correct_answers=_spelled("Correct Answers", _answers),
    incorrect_answers=_spelled("Incorrect Answers", _answers),
)
def rows(values: Fields, names: Mapping[str, str], *, most: Count | None) -> Iterator[Row]:
    """Pairs of a correct and an incorrect answer, the best answer among the correct ones.

    ``most``: pairs of a question at most, chosen by a hash of their texts; None: all.
    """
    correct = (values["best_answer"], *values["correct_answers"])
    return _pairs(values["question"], correct, values["incorrect_answers"], names, most)


@record_schema(known=KNOWN, label="mc2_targets", question=schema.text, mc2_targets=schema.mapping)
def choices(values: Fields, names: Mapping[str, str], *, most: Count | None) -> Iterator[Row]:
    """The same from the multiple-choice form: choices labelled 1 over those labelled 0."""
    texts, labels = schema.texts(values["mc2_targets"], "choices"), schema.items(values["mc2_targets"], "labels")
    if len(texts) != len(labels):
        raise BadRow("contradictory_labels", f"mc2_targets has {len(texts)} choices and {len(labels)} labels")
    truth = [schema.whole(0, 1)({"labels": label}, "labels") for label in labels]
    sides = [[text for text, true in zip(texts, truth, strict=True) if true == side] for side in (1, 0)]
    if not all(sides):
        raise BadRow("out_of_range", "mc2_targets needs choices labelled 1 and choices labelled 0")
    return _pairs(values["question"], sides[0], sides[1], names, most)


def _pairs(
    question: str, correct: Sequence[str], incorrect: Sequence[str], names: Mapping[str, str], most: int | None
) -> Iterator[Row]:
    correct, incorrect = list(dict.fromkeys(correct)), list(dict.fromkeys(incorrect))
    both = [answer for answer in correct if answer in incorrect]
    if both:
        raise BadRow("contradictory_labels", f"{both[0]!r} is said to be correct and incorrect")
    found = list(product(correct, incorrect))
    if most is not None and len(found) > most:
        kept = sorted(found, key=lambda pair: content_id("truthfulqa", question, *pair))[:most]
        found = [pair for pair in found if pair in kept]
    for chosen, rejected in found:
        yield ranked_pair(question, chosen, rejected, list(names))
