"""``python -m mora.report FOLDER...``: draw pages of runs and comparisons again from their tables; loads no model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mora import terminal
from mora.errors import REFUSED, InputError, correctable
from mora.latest import find_latest
from mora.report.chain import redraw


def main(arguments: Sequence[str] | None = None) -> int:
    """Redraw the page of every folder that the command line names; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mora.report", description="Draw pages again from tables.")
    parser.add_argument(
        "folder", nargs="+", help="a run or a comparison: a folder with tables/; latest or latest:ALGORITHM: that run"
    )
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="where latest is looked for (default: runs)")
    given = parser.parse_args(arguments)
    for folder in given.folder:
        try:
            newest = find_latest(folder, given.runs)
            print(f"report: {redraw(newest or Path(folder))}")
        except (InputError, OSError) as error:
            if correctable(error) is None:
                raise
            print(f"error: {correctable(error)}", file=sys.stderr)
            return REFUSED
    return 0


if __name__ == "__main__":
    terminal.opened()
    sys.exit(terminal.closed(main()))
