"""`dataset=ultrafeedback`: four answers to a prompt, rated 1 to 5 on four aspects by GPT-4 (Cui et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mora.dataset import schema
from mora.dataset.schema import BadRow, Fields, record_schema
from mora.types import Row

KNOWN = ("instruction_following", "honesty", "truthfulness", "helpfulness")
LIMITS = (1, 5)  # of a rating
NOT_RATED = (None, "N/A")


@record_schema(known=KNOWN, label="annotations.{}.Rating", instruction=schema.text, completions=schema.items)
def rows(values: Fields, names: Mapping[str, str], *, without: Sequence[str]) -> Iterator[Row]:
    """The completions as answers with ratings.

    A completion that is rated on none of the objectives is left out.  A record without any other, or whose field
    ``source`` is among ``without``, gives no row.
    """
    if values[""].get("source") in without:
        return
    for number, completion in enumerate(values["completions"]):
        try:
            response, rated = _completion(completion)
        except BadRow as error:
            raise BadRow(error.kind, f"completions[{number}]: {error}") from None
        ratings = {objective: ((rated[name],),) for objective, name in names.items() if name in rated}
        if ratings:
            yield Row(prompt=values["instruction"], responses=(response,), ratings=ratings)


def _completion(completion: Any) -> tuple[str, dict[str, float]]:
    if not isinstance(completion, dict):
        raise BadRow("wrong_type", f"must be an object, not {type(completion).__name__}")
    response, annotations = schema.text(completion, "response"), schema.mapping(completion, "annotations")
    given = {aspect: _rating(annotations, aspect) for aspect in KNOWN}
    return response, {aspect: value for aspect, value in given.items() if value is not None}


def _rating(annotations: Fields, aspect: str) -> float | None:
    """The rating of an aspect, a number or a text that is one; None where there is none."""
    if annotations.get(aspect, "") is None:
        return None
    value = schema.present(lambda fields, name: fields[name])(schema.mapping(annotations, aspect), "Rating")
    if value in NOT_RATED:
        return None
    name = f"{aspect}.Rating"
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise BadRow("wrong_type", f"{name!r} must be a number or N/A, not {value[:40]!r}") from None
    (rating,) = schema.rating(*LIMITS)({name: [value]}, name)
    return rating
