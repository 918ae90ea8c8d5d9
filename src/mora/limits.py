"""How large what comes from outside may be: files of data, of runs and of settings are anybody's.

Each bound is far above what honest data needs and far below what harms the machine.  A reader that meets one says so
with file and line.
"""

from __future__ import annotations

LINE_BYTES = 16 * 2**20  # of a line of JSON Lines or CSV, and of a field of CSV
JSON_BYTES = 2**30  # of a file that is read as one JSON value; longer data belongs into JSON Lines
JSON_DEPTH = 100  # lists and objects within each other
NUMBER_DIGITS = 300  # of a number; double precision ends at 308
EXPANSION = 200  # bytes out of one compressed byte of a file; text gives 3 to 10, columns of like values some 100
EXPANDED_FREE = 64 * 2**20  # bytes that a compressed file may give whatever its own size is
TABLE_ROWS = 64  # rows of a Parquet file in memory at once
SHOWN = 60  # characters of a value that a message quotes


def expanded(compressed: int) -> int:
    """The most bytes that a compressed file of so many bytes may give."""
    return max(EXPANDED_FREE, EXPANSION * compressed)
