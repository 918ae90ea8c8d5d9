"""Tokenizing and batching a million rows: mora beside ``datasets.map`` and a collator that pads.

    python benchmarks/data_throughput.py rows=1000000 workers=2 steps=2000 scratch=/tmp files=pairs.jsonl,answers.jsonl

Files are JSON Lines with ``prompt, response_0, response_1`` or ``prompt, response``.
Pairs count as two rows of a prompt and an answer.  The rows of the files are repeated up to ``rows``; the number of
the copy is written before every prompt and behind every answer, so that neither side gains from having met a text
before.  Only the two rows of one pair share a prompt, which mora tokenizes once.  A tokenizer of ``vocabulary`` pieces
is trained on the files as they are.

Each side stores the rows in its own Arrow form, tokenizes them by ``workers`` processes with the same chat template to
at most ``limit`` tokens of prompt and of answer, and then makes ``steps`` shuffled batches of ``batch_size`` rows as
tensors of ``micro_batch`` rows each.  A prompt that is too long loses the start of its template on the other side and
keeps it in mora, which costs some tokenizing (``limit=100000``: nothing is cut).  Every measurement runs in a process
of its own, the two sides in turn, ``repeats`` times; the fastest counts.  Rates of storing and tokenizing include the
start of the workers and the writing of the files.

Memory is the highest sum over the process and all its children, read every 50 ms: what is not a page of a file
(RssAnon), and what is resident (RSS, where a page that two processes share counts twice).  Padding is the share of the
positions of all micro-batches; mora groups batches by length within ``window`` batches and sorts each by length before
it is cut.
"""

from __future__ import annotations

import importlib
import multiprocessing
import queue
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from data_texts import Texts, read
from made_by import made_by

SIDES = {"mora": "data_mora", "datasets": "data_plain"}
DEFAULTS = {
    "rows": 20000, "workers": 2, "batch_size": 32, "micro_batch": 8, "steps": 300, "limit": 512, "window": 32,
    "vocabulary": 8192, "repeats": 2,
}  # fmt: skip


def watched(side: str, work: str, arguments: tuple[Any, ...]) -> dict[str, float]:
    """What the work of a side returns, its seconds, and the most memory (MiB) of this process and its children."""
    function = getattr(importlib.import_module(SIDES[side]), work)
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
    facts = function(*arguments)
    seconds = time.perf_counter() - begin
    ended.set()
    thread.join()
    return {"seconds": seconds, **peak, **(facts if isinstance(facts, dict) else {})}


def apart(answers: Any, side: str, work: str, arguments: tuple[Any, ...]) -> None:
    """What a process of its own does."""
    answers.put(watched(side, work, arguments))


def measured(side: str, work: str, *arguments: Any) -> dict[str, float]:
    """``watched`` in a new process."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=apart, args=(answers, side, work, arguments))
    process.start()
    while True:
        try:
            found: dict[str, float] = answers.get(timeout=1)
        except queue.Empty:
            if not process.is_alive():
                raise SystemExit(f"{side}: {work} ended with code {process.exitcode}") from None
        else:
            process.join()
            return found


def train_tokenizer(texts: list[Texts], options: dict[str, Any], folder: Path) -> None:
    """A byte-level tokenizer of these texts, as a folder."""
    train_bpe = importlib.import_module("mora.model.tokenizer").train_bpe
    train_bpe((text for both in texts for text in both), options["vocabulary"]).save_pretrained(folder)


def line(name: str, side: str, rows: float, found: dict[str, float]) -> str:
    rate = found.get("rows per second", rows / found["seconds"])
    padding = f"{100 * found['padding']:.1f} %" if "padding" in found else ""
    return f"| {name} | {side} | {rate:,.0f} | {found['anonymous']:,.0f} | {found['resident']:,.0f} | {padding} |"


def main() -> None:
    """Measure both sides in turn and print."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    options: dict[str, Any] = {key: int(named.get(key, value)) for key, value in DEFAULTS.items()}
    texts = read(named["files"].split(","))
    works = [("store", "stored", ()), ("tokenize", "tokens", ()), ("batch", "batches", (1,))]
    works += [(f"batch, window {options['window']}", "batches", (options["window"],))]
    best: dict[tuple[str, str], dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=named.get("scratch")) as scratch:
        options["tokenizer"] = str(Path(scratch) / "tokenizer")
        train_tokenizer(texts, options, Path(options["tokenizer"]))
        for _ in range(options["repeats"]):
            for side in SIDES:
                shutil.rmtree(Path(scratch) / side, ignore_errors=True)
                (Path(scratch) / side).mkdir()
            for name, work, more in works:
                for side in SIDES if more in ((), (1,)) else ("mora",):  # the other side has no grouping
                    found = measured(side, work, texts, options, Path(scratch) / side, *more)
                    known = best.setdefault((name, side), found)
                    if found["seconds"] < known["seconds"]:
                        best[name, side] = found
    size = f"batches of {options['batch_size']} in {options['micro_batch']}"
    print(made_by())
    print(f"{options['rows']:,} rows, {options['workers']} workers, {size}, at most {options['limit']} tokens\n")
    print("| what | side | rows/s | MiB anonymous | MiB resident | padding |\n|" + " --- |" * 6)
    for (name, side), found in best.items():
        print(line(name, side, options["rows"], found))


if __name__ == "__main__":
    main()
