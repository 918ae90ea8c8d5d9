"""A driver that runs a command of mora and kills its own process at the n-th atomic rename below a folder's name.

    python killing.py CHECKPOINTS_OF N mora.train overrides...

Checkpoints become visible by ``os.replace``; dying just before one is dying inside a save.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import Any

stage, count, module = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rename = os.replace
seen = 0


def replace(source: Any, target: Any, **options: Any) -> None:
    """``os.replace`` that does not survive its n-th checkpoint of the stage."""
    global seen
    if f"{stage}-" in str(target) and "step-" in str(target):
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target, **options)


os.replace = replace
sys.argv = [module, *sys.argv[4:]]
runpy.run_module(module, run_name="__main__")
