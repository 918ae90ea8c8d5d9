"""The prompt of a record of any form, as one text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mora.dataset.cells import typed
from mora.dataset.schema import BadRow, text
from mora.task.conversations import prompt_of


def prompt(fields: Mapping[str, Any]) -> str:
    """The text in ``prompt``, or the turns before the answer in a record with messages.

    Raises BadRow where there is neither, or where the turns are no prompt.
    """
    if isinstance(fields.get("prompt"), str):
        return text(fields, "prompt")
    if any(isinstance(typed(fields.get(name)), list) for name in ("messages", "conversations", "prompt", "chosen")):
        return prompt_of(fields)
    if "prompt" in fields:
        return text(fields, "prompt")
    raise BadRow("missing_field", "field 'prompt' is missing, and there are no messages")
