"""`dataset=jsonl`: the neutral form of mora, and the form of files of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mora.dataset import answers, schema
from mora.dataset.pairs import make_pair
from mora.dataset.schema import ID, LABEL, STRENGTH, Fields, record_schema
from mora.types import Row


@record_schema("prompt", label="{}_response_id", prompt=schema.text)
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A pair, a scored or supervised answer, or a prompt, by the fields that a record has.

    ``prompt, response_0, response_1`` with a ``<name>_response_id`` (0, 1 or null) per objective or, for soft labels, a
    ``<name>_label`` (the probability that response 1 is better), and where they are known ``<name>_rating_0``,
    ``_rating_1`` (a number or a list each) and ``<name>_strength``; or ``prompt, response`` with ratings under names
    of objectives or a mark ``label`` (`answers`); or ``prompt``.  Null counts as absent.
    """
    fields = values[""]
    labels = (name + end for name in names.values() for end in (ID, LABEL))
    if schema.given(fields, "response_0", "response_1", *labels):
        yield pair(values["prompt"], fields, names)
    elif schema.given(fields, "response"):
        yield from answers.rows(values["prompt"], schema.text(fields, "response"), fields, names)
    else:
        yield Row(prompt=values["prompt"])


def pair(prompt: str, fields: Fields, names: Mapping[str, str]) -> Row:
    """The pair of answers to ``prompt`` in a record of the neutral form.  Raises BadRow."""
    return make_pair(
        prompt,
        (schema.text(fields, "response_0"), schema.text(fields, "response_1")),
        {objective: schema.probability(fields, name) for objective, name in names.items()},
        {
            objective: (schema.ratings(fields, f"{name}_rating_0"), schema.ratings(fields, f"{name}_rating_1"))
            for objective, name in names.items()
        },
        {objective: schema.strength(fields, name + STRENGTH) for objective, name in names.items()},
    )
