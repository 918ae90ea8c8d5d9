"""The one exception for input that a user can correct, and what the operating system refuses, in words."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FAILED, REFUSED, INTERRUPTED = 1, 2, 130  # exit codes of every command; 0: done
NO_SOLUTION = 3  # exit code of a safety test that certifies no policy


class InputError(ValueError):
    """Bad input: the message says what is wrong, where (file and line, or key), and what to do.

    Entry points print the message alone, without a traceback, and leave with exit code 2.
    """


# Characters that a terminal obeys become their pictures in Unicode (those of 8 bits a box); line feed and tab stay.
_PICTURES = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}
_PICTURES |= dict.fromkeys(range(128, 160), 0xFFFD) | dict.fromkeys((0x2028, 0x2029), 0x2424)  # separators of lines


def visible(text: str) -> str:
    """``text`` for a terminal or a page, with its control characters made visible instead of obeyed."""
    return text.translate(_PICTURES)


OTHER_FORM = (LookupError, TypeError, ValueError, AttributeError)  # of a value than the code that reads it expects


@contextmanager
def reading(path: Path | str, what: str, remedy: str) -> Iterator[None]:
    """Content of ``path`` that has not the form of ``what`` is bad input and no traceback: raises InputError."""
    try:
        yield
    except InputError:
        raise
    except OTHER_FORM as error:
        raise InputError(f"{path} is not {what}: {error!r}; {remedy}") from error


def install_hint(extra: str) -> str:
    """What to type for the packages of an extra of pyproject.toml."""
    return f"in the clone of mora: pip install -e '.[{extra}]'"


_ELSEWHERE = "or name a folder on another disk (paths.runs for runs)"
_RIGHTS = f"change the permissions, {_ELSEWHERE}"
_LATER = "the same command goes on from the last state that was kept"
_LIMIT = "raise the limit (ulimit -n), or start fewer processes"
REMEDIES = {
    errno.ENOSPC: f"free some space there, {_ELSEWHERE}; {_LATER}",
    errno.EDQUOT: f"free some of your quota, {_ELSEWHERE}; {_LATER}",
    errno.EFBIG: f"raise the limit on the size of files (ulimit -f), {_ELSEWHERE}",
    errno.EROFS: f"mount it for writing, {_ELSEWHERE}",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENAMETOOLONG: "choose a shorter name: of a part of a path, 255 bytes are the most",
    errno.ENOTDIR: "a part of that path is a file; name another path",
    errno.EISDIR: "that is a folder; name a file",
    errno.ELOOP: "the links there lead in a circle; name another path",
    errno.EMFILE: _LIMIT,
    errno.ENFILE: _LIMIT,
    errno.ENOLCK: f"start its lock service, {_ELSEWHERE}",
    errno.EIO: f"look at the disk or its server, {_ELSEWHERE}; {_LATER}",
    errno.EPIPE: "what read the output has gone away; let it read to the end, or write to a file",
    errno.ESTALE: "look at the file server, and run the same command again",
}


def correctable(error: BaseException) -> str | None:
    """The message of an error that a user can mend: bad input, or what the operating system refused.

    None for any other, also for what the system refused without a known remedy, such as a file that disappeared.
    """
    if isinstance(error, InputError):
        return str(error)
    if not isinstance(error, OSError) or error.errno not in REMEDIES:
        return None
    reason = os.strerror(error.errno)
    where = f"{os.fspath(error.filename)!s}: " if error.filename is not None else ""
    return f"{where}{reason}; {REMEDIES[error.errno]}"


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """What the operating system refuses while ``path`` is written names it, also where a library wrapped the error.

    safetensors and tokenizers raise errors of their own with the number in the text.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and Path(path).name in str(error.filename or path):  # itself, or a temporary name
            error.filename, error.filename2 = str(path), None
        raise
    except Exception as error:
        found = re.search(r"\bos error (\d+)\b|\bOs \{ code: (\d+)", str(error))
        if found is None:
            raise
        number = int(found[1] or found[2])
        raise OSError(number, os.strerror(number), str(path)) from error
