"""Files of rows as bytes, unpacked on the way, within ``mora.limits``; and what a file is whose name says otherwise."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow

from mora.dataset.paths import PACKED
from mora.errors import InputError
from mora.json_text import BOM
from mora.limits import LINE_BYTES, expanded

START = 64  # bytes that tell what a file is
_SIGNS = (  # what a file begins with, and what is said of it
    ((b"\xff\xfe", b"\xfe\xff"), "written as UTF-16; write it as UTF-8"),
    ((b"\x1f\x8b",), "compressed by gzip; let its name end in .gz"),
    ((b"\xfd7zXZ",), "compressed by xz; let its name end in .xz"),
    ((b"BZh",), "compressed by bzip2; let its name end in .bz2"),
    ((b"\x28\xb5\x2f\xfd",), "compressed by zstandard; let its name end in .zst"),
    ((b"PK\x03\x04",), "a zip archive or a workbook; unpack it, or save the sheet as CSV in UTF-8"),
    ((b"PAR1",), "a Parquet file; let its name end in .parquet"),
    ((b"ARROW1", b"\xff\xff\xff\xff"), "a table of Arrow; write it as Parquet"),
    ((b"version https://git-lfs",), "a pointer of Git LFS, not the file itself; fetch it: git lfs pull"),
    ((b"<",), "a page of HTML or XML, not data; download the file itself"),
)


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """While a file is read, what is damaged about it is one message: raises InputError."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pyarrow.ArrowException) as error:
        raise InputError(
            f"{file}: cannot be read, damaged or not what its name says: {_sign(file) or error}"
        ) from error


def opened(file: Path) -> BinaryIO:
    """The bytes of a file, unpacked as its name says."""
    suffix = file.suffix.lower()
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(file, "rb"))
    if suffix == ".xz":
        return cast(BinaryIO, lzma.open(file, "rb"))
    if suffix == ".bz2":
        return cast(BinaryIO, bz2.open(file, "rb"))
    if suffix == ".zst":
        return cast(BinaryIO, io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd")))
    return open(file, "rb")


def start(file: Path) -> bytes:
    """What a file of text begins with.  Raises InputError for one that is no text in UTF-8 or ASCII."""
    with opened(file) as stream:
        found = stream.read(START)
    told = _told(found, file)
    if told is None and b"\0" in found[:4]:
        told = _SIGNS[0][1]
    if told is not None:
        raise InputError(f"{file}: {told}")
    return found.removeprefix(BOM).lstrip()


def _sign(file: Path) -> str | None:
    try:
        with open(file, "rb") as stream:
            return _told(stream.read(START), file)
    except OSError:
        return None


def _told(content: bytes, file: Path) -> str | None:
    """What is said of a file that begins so; nothing of a compression or form that its name states."""
    begun, named = content.removeprefix(BOM), file.suffix.lower()
    said = (told for signs, told in _SIGNS if begun.startswith(signs) and not told.endswith(f"end in {named}"))
    return next(said, None)


def most(file: Path) -> int | None:
    """The most bytes that a compressed file may give; None for one that is not compressed."""
    return expanded(file.stat().st_size) if file.suffix.lower() in PACKED else None


def too_much(where: str, bound: int) -> InputError:
    """The error about a compressed file that gives more than ``bound`` bytes."""
    return InputError(
        f"{where}: the compressed file gives more than {bound} bytes, far beyond what text does; unpack it to see what "
        "it is, and name the unpacked file"
    )


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, less a byte-order mark; of one beyond LINE_BYTES no more than these.

    Raises InputError where a compressed file gives too much.
    """
    bound, given, number = most(file), 0, 0
    with opened(file) as stream:
        while line := stream.readline(LINE_BYTES + 1):
            number += 1
            given += len(line)
            rest = line
            while len(rest) > LINE_BYTES and not rest.endswith(b"\n"):  # read on, and forget, up to the line's end
                rest = stream.readline(LINE_BYTES + 1)
                given += len(rest)
                if bound is not None and given > bound:
                    raise too_much(f"{file}:{number}", bound)
            if bound is not None and given > bound:
                raise too_much(f"{file}:{number}", bound)
            yield number, line.removeprefix(BOM) if number == 1 else line
