"""What a command prints: characters that a terminal lacks are escaped, and a reader that goes away is no failure."""

from __future__ import annotations

import io
import os
import sys

from mora.errors import REFUSED


def opened() -> None:
    """From now on, a character that the encoding of a terminal lacks is written as its escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def closed(code: int) -> int:
    """The exit code of a command, once all that it printed is written out.

    Where the reader has gone away the rest is dropped; what the system refuses else, as on a full disk, is said.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes once more
            if not isinstance(error, BrokenPipeError):
                print(f"error: what was printed could not be written: {error.strerror}", file=sys.stderr)
                code = REFUSED
    return code
