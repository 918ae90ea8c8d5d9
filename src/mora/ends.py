"""The tokens that end an answer beside a tokenizer's own end token, as the configuration of its model names them.

They are kept with the tokenizer, and stored and copied with it: whoever reads or writes answers by it knows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mora.errors import InputError

KEY = "end_token_ids"  # of tokenizer_config.json


def name_ends(tokenizer: Any, ids: Iterable[int]) -> None:
    """Let ``ids`` end answers too, beside its own end token and those that were named before."""
    known = {tokenizer.eos_token_id, *named_ends(tokenizer)}
    more = sorted({*ids} - known)
    if more:
        tokenizer.init_kwargs[KEY] = [*named_ends(tokenizer), *more]


def named_ends(tokenizer: Any) -> tuple[int, ...]:
    """What was named by ``name_ends``, here or before the tokenizer was stored.  Raises InputError for no such list."""
    return end_ids(tokenizer.init_kwargs.get(KEY), f"{tokenizer.name_or_path}: {KEY} of tokenizer_config.json")


def end_ids(value: Any, where: str) -> tuple[int, ...]:
    """One id or a list of them, or none, as a file states it.  Raises InputError that begins with ``where``."""
    ids = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in ids):
        raise InputError(f"{where}: is {value!r}, and must be the id of a token, or a list of them")
    return tuple(ids)
