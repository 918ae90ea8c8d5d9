"""``python -m tests.mutation``, from the root of the repository: which test notices which fault, as a table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from tests.mutation.campaign import campaign, search, table
from tests.mutation.faults import FAULTS
from tests.mutation.harness import preload


def main() -> int:
    """Run the campaign; the exit code is 1 when a fault survives or the tests fail without a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="only this fault; may be repeated")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there as well")
    parser.add_argument("--search", metavar="NAME", action="append", help="find tests that notice a fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    given = parser.parse_args()
    wanted = given.search or given.only
    unknown = set(wanted or ()) - {fault.name for fault in FAULTS}
    if unknown:
        parser.error(f"no fault named {', '.join(sorted(unknown))}")
    faults = [fault for fault in FAULTS if not wanted or fault.name in wanted]
    preload()
    if given.search:
        search(faults, jobs=given.jobs)
        return 0
    report = campaign(faults, jobs=given.jobs)
    print(table(report))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2), encoding="utf-8")
    return int(not report["green"] or bool(report["survivors"]))


if __name__ == "__main__":
    sys.exit(main())
