"""The side of mora in ``data_throughput.py``: rows, tokens and batches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from data_texts import Texts, repeated
from transformers import PreTrainedTokenizerFast

from mora.dataset.encode import Encoder
from mora.dataset.row_writer import RowWriter
from mora.dataset.store import StoredRows
from mora.dataset.tokens import TokenizedRows, tokenized
from mora.types import Row


def stored(texts: list[Texts], options: dict[str, Any], folder: Path) -> None:
    """Rows into files."""
    with RowWriter(folder / "rows", ()) as writer:
        for prompt, answer in repeated(texts, options["rows"]):
            writer.add(Row(prompt=prompt, responses=(answer,)))


def opened(options: dict[str, Any], folder: Path) -> tuple[TokenizedRows, Encoder]:
    """Rows with tokens, made where there are none."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options["tokenizer"])
    encoder = Encoder(tokenizer, options["limit"], options["limit"], "cut_answer")
    return tokenized(StoredRows.open(folder / "rows"), encoder, folder, workers=options["workers"]), encoder


def tokens(texts: list[Texts], options: dict[str, Any], folder: Path) -> None:
    """Tokens into files beside the rows."""
    opened(options, folder)


def batches(texts: list[Texts], options: dict[str, Any], folder: Path, window: int) -> dict[str, float]:
    """Micro-batches as training makes them."""
    from mora.dataset import collate  # noqa: PLC0415  tokenizing needs no torch, and shall not be charged for it
    from mora.dataset.order import grouped_batch  # noqa: PLC0415

    rows, encoder = opened(options, folder)
    lengths, size, micro = rows.lengths, options["batch_size"], options["micro_batch"]
    real = positions = 0
    begin = time.perf_counter()
    for step in range(options["steps"]):
        chosen = grouped_batch(step, lengths, size, 0, window)
        chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
        for start in range(0, size, micro):
            batch = collate.supervised([rows[i] for i in chosen[start : start + micro]], encoder)
            real, positions = real + int(batch.mask.sum()), positions + batch.mask.numel()
    seconds = time.perf_counter() - begin
    return {"rows per second": options["steps"] * size / seconds, "padding": 1 - real / positions}
