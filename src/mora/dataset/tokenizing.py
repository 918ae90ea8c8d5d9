"""Tokenizing rows chunk by chunk, in this process or in several others."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.types import Row, content_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 1024  # rows of a chunk
FEW = 8  # chunks: a process takes seconds to start, and so does one to tokenize these
SHOWN = 10  # refused rows that one message lists
SIDES = 2  # responses of a row, at most
_ENCODER: list[Encoder] = []  # of a worker


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Tokens of B rows."""

    ids: NDArray[np.int32]  # prompt and responses of one row after the other
    sizes: NDArray[np.int32]  # (B, 3) tokens of prompt and responses, -1 where there is no response
    longest: NDArray[np.int32]  # (B,) tokens of the longest response before it was cut
    prompts: NDArray[np.uint64]  # (B,) twice the hash of each prompt, and one more where it was cut
    answers: NDArray[np.uint64]  # the same of all responses
    problems: list[str]  # a line for each row that is refused; then the rest is void


def chunks(rows: Sequence[Row], encoder: Encoder, workers: int) -> Iterator[Chunk]:
    """The chunks of ``rows`` in order, by this process where it is done before others have started.

    As many chunks as two for each worker are under way.
    """
    starts = range(0, len(rows), ROWS_AT_ONCE)
    if workers == 1 or len(starts) < FEW:
        for start in starts:
            yield encoded(encoder, rows[start : start + ROWS_AT_ONCE])
        return
    initial = (encoder.tokenizer, encoder.max_prompt, encoder.max_response)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=initial)
    waiting: deque[Future[Chunk]] = deque()
    try:
        for start in starts:
            waiting.append(pool.submit(_work, rows[start : start + ROWS_AT_ONCE]))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(tokenizer: PreTrainedTokenizerBase, max_prompt: int, max_response: int) -> None:
    """Make this worker's encoder.  It ends with the process that started it, however that ends."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism
    _ENCODER[:] = [Encoder(tokenizer, max_prompt, max_response, "cut_answer")]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(rows: Sequence[Row]) -> Chunk:
    return encoded(_ENCODER[0], rows)


def encoded(encoder: Encoder, rows: Sequence[Row]) -> Chunk:
    """The tokens of some rows; each distinct text of them is tokenized once."""
    rows = list(rows)
    for row in rows:
        if len(row.responses) > SIDES:
            raise ValueError(f"{row.where or repr(row.prompt[:60])}: {len(row.responses)} responses, not {SIDES}")
    refused: dict[str, str] = {}
    prompts = _each(encoder.chat.many, list(dict.fromkeys(row.prompt for row in rows)), refused)
    texts = list(dict.fromkeys(text for row in rows for text in row.responses))
    answers = _each(encoder.whole, texts, refused)
    problems = [
        f"  {row.where or repr(row.prompt[:60])}: {refused[text]}"
        for row in rows
        for text in [next((text for text in (row.prompt, *row.responses) if text in refused), None)]
        if text is not None
    ]
    if problems:
        rows = []
    limit = encoder.max_response
    kept = {text: ids if len(ids) <= limit else [*ids[: limit - 1], encoder.eos] for text, ids in answers.items()}
    ids: list[int] = []
    sizes = np.full((len(rows), 1 + SIDES), -1, dtype=np.int32)
    for number, row in enumerate(rows):
        parts = [prompts[row.prompt][0], *(kept[text] for text in row.responses)]
        sizes[number, : len(parts)] = [len(part) for part in parts]
        for part in parts:
            ids += part
    longest = [max((len(answers[text]) for text in row.responses), default=0) for row in rows]
    return Chunk(
        ids=np.array(ids, dtype=np.int32),
        sizes=sizes,
        longest=np.array(longest, dtype=np.int32),
        prompts=_marks([row.prompt for row in rows], {text: cut for text, (_, cut) in prompts.items()}),
        answers=_marks([t for row in rows for t in row.responses], {t: len(a) > limit for t, a in answers.items()}),
        problems=problems,
    )


def _each(encode: Callable[[list[str]], list[Any]], texts: list[str], refused: dict[str, str]) -> dict[str, Any]:
    """What ``encode`` gives for each text; where it refuses, one by one, and why goes into ``refused``."""
    try:
        return dict(zip(texts, encode(texts), strict=True))
    except InputError:
        found: dict[str, Any] = {}
        for text in texts:
            try:
                (found[text],) = encode([text])
            except InputError as error:
                refused[text] = str(error)
        return found


def _marks(texts: list[str], cut: dict[str, bool]) -> NDArray[np.uint64]:
    return np.array([content_id(text) << 1 | cut[text] for text in texts], dtype=np.uint64)
