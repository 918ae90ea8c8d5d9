"""Rows of one answer: supervised, rated, or marked good or bad, as in an unpaired preference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mora.dataset import schema
from mora.dataset.schema import Fields
from mora.types import Row

MARK = "label"  # whether an answer is good: an unpaired preference, as KTO and Binary Classifier Optimization read it
OBJECTIVE = "objective"  # the field that says which objective a mark, or a chosen answer, is about


def rows(prompt: str, response: str, fields: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A rated answer where ``fields`` rate or mark it, else a supervised one.

    Ratings stand under the names of objectives.  A mark is a rating of 1 (good) or 0 (bad) on the objectives that
    ``judged`` gives; where none is asked for at all it only says what may be imitated.  A good answer is a supervised
    one as well; a bad one never is.  Raises BadRow for a rating or a mark that is none.
    """
    rated = {objective: schema.ratings(fields, name) for objective, name in names.items()}
    ratings = {objective: (values,) for objective, values in rated.items() if values}
    good = None if MARK in names.values() else schema.mark(fields, MARK)
    if good is None:
        yield Row(prompt=prompt, responses=(response,), ratings=ratings)
        return
    about = judged(fields, names) if len(ratings) < len(names) else []
    ratings = dict.fromkeys(about, ((float(good),),)) | ratings
    if good and (ratings or not names):
        yield Row(prompt=prompt, responses=(response,))
    if ratings:
        yield Row(prompt=prompt, responses=(response,), ratings=ratings)


def judged(fields: Fields, names: Mapping[str, str]) -> list[str]:
    """The objectives that a record without columns of their own is about: what ``objective`` names, else the only one.

    None where that is not asked for.  Raises BadRow where several are asked for and the field says nothing.
    """
    if not names or (len(names) == 1 and not schema.given(fields, OBJECTIVE)):
        return list(names)
    said = schema.text(fields, OBJECTIVE)
    return [objective for objective, name in names.items() if name == said]
