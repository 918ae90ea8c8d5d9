"""The other side in ``data_throughput.py``: ``datasets.map`` and a collator of transformers that pads."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from data_texts import Texts, repeated
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerFast


def stored(texts: list[Texts], options: dict[str, Any], folder: Path) -> None:
    """Rows into a dataset on disk."""
    datasets.disable_progress_bars()

    def rows() -> Iterator[dict[str, str]]:
        for prompt, answer in repeated(texts, options["rows"]):
            yield {"prompt": prompt, "answer": answer}

    made = datasets.Dataset.from_generator(rows, cache_dir=str(folder / "cache"))
    made.save_to_disk(str(folder / "rows"))


def encoded(rows: dict[str, list[str]], tokenizer: Any, limit: int) -> dict[str, list[list[int]]]:
    """What ``datasets.map`` calls: one call for all prompts and one for all answers, ids cut to the limit."""
    turns = [[{"role": "user", "content": prompt}] for prompt in rows["prompt"]]
    prompts = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    answers = tokenizer(rows["answer"], add_special_tokens=False)["input_ids"]
    cut = [
        (prompt[-limit:], [*answer[: limit - 1], tokenizer.eos_token_id])
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return {
        "input_ids": [prompt + answer for prompt, answer in cut],
        "labels": [[-100] * len(prompt) + answer for prompt, answer in cut],
    }


def tokens(texts: list[Texts], options: dict[str, Any], folder: Path) -> None:
    """Tokens by ``datasets.map``."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    datasets.disable_progress_bars()
    made = datasets.load_from_disk(str(folder / "rows")).map(
        encoded,
        batched=True,
        num_proc=options["workers"] if options["workers"] > 1 else None,
        remove_columns=["prompt", "answer"],
        fn_kwargs={
            "tokenizer": PreTrainedTokenizerFast.from_pretrained(options["tokenizer"]),
            "limit": options["limit"],
        },
        cache_file_name=str(folder / "map.arrow"),
    )
    made.save_to_disk(str(folder / "tokens"))


def batches(texts: list[Texts], options: dict[str, Any], folder: Path, window: int) -> dict[str, float]:
    """Micro-batches of the shuffled dataset, padded to their longest row."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options["tokenizer"], padding_side="right")
    collator = DataCollatorForSeq2Seq(tokenizer)
    rows = datasets.load_from_disk(str(folder / "tokens")).shuffle(seed=0)
    size, micro = options["batch_size"], options["micro_batch"]
    real = positions = 0
    begin = time.perf_counter()
    for start in range(0, options["steps"] * size, micro):
        some = rows[[i % len(rows) for i in range(start, start + micro)]]
        batch = collator([dict(zip(some, values, strict=True)) for values in zip(*some.values(), strict=True)])
        real, positions = real + int(batch["attention_mask"].sum()), positions + batch["attention_mask"].numel()
    seconds = time.perf_counter() - begin
    return {"rows per second": options["steps"] * size / seconds, "padding": 1 - real / positions}
