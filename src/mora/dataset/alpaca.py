"""`dataset=alpaca` and `alpaca_farm`: instructions with an answer, or with two of which one is preferred.

Taori et al., 2023; Dubois et al., 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mora.dataset import schema
from mora.dataset.pairs import make_pair
from mora.dataset.schema import Fields, record_schema
from mora.types import Row


def _input(fields: Fields, column: str) -> str:
    """What an instruction is about; empty or null where it stands alone."""
    return "" if fields.get(column, "") is None else schema.any_text(fields, column)


@record_schema(label="{}", instruction=schema.text, input=_input, output=schema.text)
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A supervised answer to the instruction, with the input below it after a blank line."""
    yield Row(prompt=_prompt(values), responses=(values["output"],))


@record_schema(known=("better",), label="preference", instruction=schema.text, input=_input)
def farm(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A pair where there are ``output_1``, ``output_2`` and a ``preference`` (1 or 2), else a supervised answer.

    Without ``output``, or where it is null, a prompt.
    """
    fields, prompt = values[""], _prompt(values)
    if not schema.given(fields, "output_1", "output_2", "preference"):
        yield Row(prompt=prompt, responses=(schema.text(fields, "output"),) if schema.given(fields, "output") else ())
        return
    label = float(schema.whole(1, 2)(fields, "preference") == 2)
    outputs = (schema.text(fields, "output_1"), schema.text(fields, "output_2"))
    yield make_pair(prompt, outputs, dict.fromkeys(names, label))


def _prompt(values: Fields) -> str:
    return "\n\n".join(part for part in (values["instruction"], values["input"]) if part.strip())
