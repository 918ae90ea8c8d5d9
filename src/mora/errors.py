"""The one exception for input that a user can correct."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message says what is wrong, where (file and line, or key), and what to do.

    Entry points print the message alone, without a traceback, and leave with exit code 2.
    """
