"""What a run says while it works: on standard error, once per launch."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from tqdm import tqdm

from mora.errors import visible
from mora.settings.secrets import masked_text

QUIET_INTERVAL = 10.0  # seconds between progress lines where standard error is no terminal


def is_main_process() -> bool:
    """Whether this is rank 0, read from the launcher's variables: valid before any process group exists."""
    return int(os.environ.get("RANK", "0")) == 0


def say(text: str) -> None:
    """Print one line for the user on standard error, from rank 0 only."""
    if is_main_process():
        tqdm.write(f"mora: {visible(masked_text(text))}", file=sys.stderr)
        sys.stderr.flush()


class Progress:
    """A progress bar with its rate, or one plain line every ten seconds where standard error is no terminal."""

    def __init__(self, name: str, *, done: int, total: int, visible: bool) -> None:
        self._name, self._done, self._total = name, done, total
        self._first, self._begin = done, time.monotonic()
        self._visible = visible
        self._spoken = self._begin
        terminal = visible and sys.stderr.isatty()
        self._bar: Any = tqdm(total=total, initial=done, desc=name, unit="step", leave=True) if terminal else None

    def advance(self) -> None:
        """Count one finished step."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(1)
        elif self._visible:
            now = time.monotonic()
            if now - self._spoken >= QUIET_INTERVAL or self._done == self._total:
                self._spoken = now
                rate = (self._done - self._first) / max(now - self._begin, 1e-9)
                left = (self._total - self._done) / rate
                say(f"{self._name}: step {self._done}/{self._total}, {rate:.2f} steps/s, {left:.0f} s left")

    def close(self) -> None:
        """Leave the terminal tidy."""
        if self._bar is not None:
            self._bar.close()
