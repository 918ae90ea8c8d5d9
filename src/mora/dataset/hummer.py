"""`dataset=hummer`: Hummer, pairs for six objectives, each labelled for one of them (Jiang et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mora.dataset import schema
from mora.dataset.pairs import ranked_pair
from mora.dataset.schema import Fields, record_schema
from mora.types import Row

KNOWN = ("accuracy", "conciseness", "depth", "empathy", "specificity", "tone")


@record_schema(
    known=KNOWN,
    label="{}/chosen",
    prompt=schema.text,
    chosen=schema.text,
    rejected=schema.text,
    subset=schema.text,
)
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A pair that is labelled for the objective whose folder (``subset``) it stands in."""
    labelled = [objective for objective, name in names.items() if name == values["subset"]]
    yield ranked_pair(values["prompt"], values["chosen"], values["rejected"], labelled)
