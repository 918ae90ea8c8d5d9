"""Tokenizing and batching a million rows: mora beside ``datasets.map`` and a collator that pads.

    python benchmarks/data_throughput.py rows=1000000 workers=2 \
        files=/work/shared/data/pairs_hh_harmless.train.jsonl,/work/shared/data/sft_alpaca.train.jsonl

Pairs count as two rows of a prompt and an answer.  The rows of the files are repeated up to ``rows``; the number of the
copy is written before every prompt and behind every answer, so that no text comes twice and neither side gains from
knowing one.  A tokenizer of ``vocabulary`` pieces is trained on the files as they are.

Each side stores the rows in its own Arrow form, tokenizes them with ``workers`` processes under the same limits and the
same chat template, and then makes ``steps`` shuffled batches of ``batch_size`` rows as tensors.  Each measurement runs
in a process of its own, the two sides in turn, ``repeats`` times; the fastest counts.  Memory is the highest sum, over
the process and all its children, of what is not a page of a file (RssAnon), read every 50 ms, and of all that is
resident (RSS, where a page shared by two processes counts twice).  Padding is the share of the positions of all batches.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

Texts = tuple[str, str]
LIMITS = {"max_prompt": 512, "max_response": 512}
WINDOWS = (1, 32)


def texts_of(files: list[str]) -> list[Texts]:
    """Prompts with an answer: both answers of a pair by themselves."""
    found = []
    for file in files:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            answers = [fields[key] for key in ("response", "response_0", "response_1") if key in fields]
            found += [(fields["prompt"], answer) for answer in answers]
    return found


def repeated(texts: list[Texts], rows: int) -> Iterator[Texts]:
    """So many rows, no text of which comes twice but for prompts that do in the files."""
    for number in range(rows):
        copy, place = divmod(number, len(texts))
        prompt, answer = texts[place]
        yield f"{copy}. {prompt}", f"{answer} {copy}"


def mora_stored(texts: list[Texts], options: dict[str, Any], folder: Path) -> None:
    """Rows into files."""
    from mora.dataset.store import RowWriter
    from mora.types import Row

    with RowWriter(folder / "rows", ()) as writer:
        for prompt, answer in repeated(texts, options["rows"]):
            writer.add(Row(prompt=prompt, responses=(answer,)))


def mora_tokenized(texts: list[Texts], options: dict[str, Any], folder: Path) -> Any:
    """Tokens into files beside them; or what is there."""
    from transformers import PreTrainedTokenizerFast

    from mora.dataset.encode import Encoder
    from mora.dataset.store import StoredRows
    from mora.dataset.tokens import tokenized

    tokenizer = PreTrainedTokenizerFast.from_pretrained(options["tokenizer"])
    encoder = Encoder(tokenizer, **LIMITS, overlong="cut_answer")
    rows = tokenized(StoredRows.open(folder / "rows"), encoder, folder, workers=options["workers"])
    return rows, encoder


def mora_batched(texts: list[Texts], options: dict[str, Any], folder: Path, window: int) -> dict[str, float]:
    """Batches of it, as training makes them."""
    from mora.dataset import collate
    from mora.dataset.order import grouped_batch

    rows, encoder = mora_tokenized(texts, options, folder)
    lengths, size = rows.lengths, options["batch_size"]
    real = positions = 0
    begin = time.perf_counter()
    for step in range(options["steps"]):
        chosen = grouped_batch(step, lengths, size, 0, window)
        batch = collate.supervised([rows[i] for i in chosen], encoder)
        real, positions = real + int(batch.mask.sum()), positions + batch.mask.numel()
    seconds = time.perf_counter() - begin
    return {"rows per second": options["steps"] * size / seconds, "padding": 1 - real / positions}


def plain_stored(texts: list[Texts], options: dict[str, Any], folder: Path) -> None:
    """Rows into a dataset on disk."""
    import datasets

    def rows() -> Iterator[dict[str, str]]:
        for prompt, answer in repeated(texts, options["rows"]):
            yield {"prompt": prompt, "answer": answer}

    made = datasets.Dataset.from_generator(rows, cache_dir=str(folder / "cache"))
    made.save_to_disk(str(folder / "plain"))


def plain_tokens(rows: dict[str, list[str]], tokenizer: Any) -> dict[str, list[list[int]]]:
    """What ``datasets.map`` calls: the template, both texts in one call each, cut to the limits."""
    turns = [[{"role": "user", "content": prompt}] for prompt in rows["prompt"]]
    prompts = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    answers = tokenizer(rows["answer"], add_special_tokens=False)["input_ids"]
    cut = [
        (p[-LIMITS["max_prompt"] :], [*a[: LIMITS["max_response"] - 1], tokenizer.eos_token_id])
        for p, a in zip(prompts, answers, strict=True)
    ]
    return {
        "input_ids": [p + a for p, a in cut],
        "labels": [[-100] * len(p) + a for p, a in cut],
    }


def plain_tokenized(texts: list[Texts], options: dict[str, Any], folder: Path) -> None:
    """Tokens by ``datasets.map``."""
    import datasets
    from transformers import PreTrainedTokenizerFast

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    datasets.disable_progress_bars()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options["tokenizer"])
    rows = datasets.load_from_disk(str(folder / "plain"))
    made = rows.map(
        plain_tokens,
        batched=True,
        num_proc=options["workers"] if options["workers"] > 1 else None,
        remove_columns=["prompt", "answer"],
        fn_kwargs={"tokenizer": tokenizer},
        cache_file_name=str(folder / "map.arrow"),
    )
    made.save_to_disk(str(folder / "tokens"))


def plain_batched(texts: list[Texts], options: dict[str, Any], folder: Path, window: int) -> dict[str, float]:
    """Shuffled batches, padded by the tokenizer as DataCollatorWithPadding does, labels beside them."""
    import datasets
    import torch
    from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(options["tokenizer"], padding_side="right")
    rows, size = datasets.load_from_disk(str(folder / "tokens")), options["batch_size"]
    collator = DataCollatorForSeq2Seq(tokenizer)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    real = positions = 0
    begin = time.perf_counter()
    for step in range(options["steps"]):
        chosen = [order[i % len(order)] for i in range(step * size, (step + 1) * size)]
        some = rows[chosen]
        batch = collator([dict(zip(some, values, strict=True)) for values in zip(*some.values(), strict=True)])
        real, positions = real + int(batch["attention_mask"].sum()), positions + batch["attention_mask"].numel()
    seconds = time.perf_counter() - begin
    return {"rows per second": options["steps"] * size / seconds, "padding": 1 - real / positions}


def watched(work: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    """What ``work`` returns, its seconds, and the most memory (MiB) of this process and its children."""
    peak, ended = {"anonymous": 0.0, "resident": 0.0}, threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            found = {"anonymous": 0.0, "resident": 0.0}
            own = psutil.Process()
            for process in [own, *own.children(recursive=True)]:
                try:
                    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                except OSError:  # it has just ended
                    continue
                sizes = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon", "VmRSS")))
                for name, key in (("anonymous", "RssAnon"), ("resident", "VmRSS")):
                    found[name] += int(sizes.get(key, "0 kB").split()[0]) / 1024
            peak.update({name: max(peak[name], value) for name, value in found.items()})

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    begin = time.perf_counter()
    facts = work(*arguments)
    seconds = time.perf_counter() - begin
    ended.set()
    thread.join()
    return {"seconds": seconds, **peak, **(facts if isinstance(facts, dict) else {})}


def apart(queue: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run in a process of its own."""
    queue.put(watched(work, *arguments))


def measured(work: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    """``watched`` in a new process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=apart, args=(queue, work, arguments))
    process.start()
    while True:
        try:
            found: dict[str, float] = queue.get(timeout=1)
            process.join()
            return found
        except Exception:
            if not process.is_alive():
                raise SystemExit(f"{work.__name__} ended with code {process.exitcode}") from None


def tokenizer_of(texts: list[Texts], vocabulary: int, folder: Path) -> str:
    """A byte-level tokenizer of these texts, as a folder."""
    from mora.model.tokenizer import train_bpe

    train_bpe((text for both in texts for text in both), vocabulary).save_pretrained(folder / "tokenizer")
    return str(folder / "tokenizer")


def line(name: str, side: str, rows: float, found: dict[str, float]) -> str:
    rate = found.get("rows per second", rows / found["seconds"])
    padding = f"{100 * found['padding']:.1f} %" if "padding" in found else ""
    return f"| {name} | {side} | {rate:,.0f} | {found['anonymous']:,.0f} | {found['resident']:,.0f} | {padding} |"


def main() -> None:
    """Measure both sides in turn and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    texts = texts_of(named["files"].split(","))
    options: dict[str, Any] = {
        key: int(named.get(key, default))
        for key, default in {"rows": 20000, "workers": 2, "batch_size": 32, "steps": 500}.items()
    }
    repeats = int(named.get("repeats", "2"))
    with tempfile.TemporaryDirectory(dir=named.get("scratch")) as scratch:
        options["tokenizer"] = tokenizer_of(texts, int(named.get("vocabulary", "8192")), Path(scratch))
        folders = {side: Path(scratch) / side for side in ("mora", "datasets")}
        works: dict[str, dict[str, tuple[Any, ...]]] = {
            "store": {"mora": (mora_stored,), "datasets": (plain_stored,)},
            "tokenize": {"mora": (mora_tokenized,), "datasets": (plain_tokenized,)},
            **{f"batch, window {w}": {"mora": (mora_batched, w), "datasets": (plain_batched, w)} for w in WINDOWS},
        }
        best: dict[tuple[str, str], dict[str, float]] = {}
        for _ in range(repeats):
            for folder in folders.values():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            for name, sides in works.items():
                for side, (work, *more) in sides.items():
                    if side == "datasets" and more and more[0] != 1:
                        continue  # it has no grouping
                    found = measured(work, texts, options, folders[side], *more)
                    known = best.setdefault((name, side), found)
                    if found["seconds"] < known["seconds"]:
                        best[name, side] = found
        print(f"{options['rows']:,} rows, {options['workers']} workers, batches of {options['batch_size']}\n")
        print("| what | side | rows/s | MiB anonymous | MiB resident | padding |\n|" + " --- |" * 6)
        for (name, side), found in best.items():
            print(line(name, side, options["rows"], found))


if __name__ == "__main__":
    main()
