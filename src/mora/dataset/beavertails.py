"""`dataset=beavertails`: single answers marked safe or unsafe (Ji et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mora.dataset import schema
from mora.dataset.schema import Fields, record_schema
from mora.types import Row

KNOWN = ("safe",)


@record_schema(
    known=KNOWN,
    label="is_{}",
    prompt=schema.text,
    response=schema.text,
    is_safe=schema.present(schema.flag),
)
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """An answer rated 1 where it is safe, 0 where it is not.

    One without a mark gives no row, and neither does an unsafe one where safety is no objective: none is an example.
    """
    if values["is_safe"] is not None and (names or values["is_safe"]):
        ratings = dict.fromkeys(names, ((float(values["is_safe"]),),))
        yield Row(prompt=values["prompt"], responses=(values["response"],), ratings=ratings)
