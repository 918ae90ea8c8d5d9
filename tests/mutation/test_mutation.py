"""Known faults, planted one at a time: each must turn the tests red."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest

from tests.mutation.fault import PACKAGE, ROOT, Fault
from tests.mutation.faults import FAULTS

LEAST = 25
CAMPAIGN_LIMIT = 1200  # seconds


def test_names_are_unique_and_there_are_enough():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= LEAST


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_package_as_it_is(fault: Fault):
    """Its place exists once, the file with the fault in it is Python, and its tests exist."""
    text = (PACKAGE / fault.file).read_text(encoding="utf-8")
    ast.parse(fault.planted(text))
    assert fault.caught_by and fault.why.endswith(".")
    for test in fault.caught_by:
        file, _, name = test.partition("::")
        assert (
            f"def {name.split('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")
            if name
            else (ROOT / file).is_file()
        )


def test_a_place_that_does_not_exist_once_is_refused():
    fault = Fault(name="none", file="none.py", old="a", new="b", why="Nothing.", caught_by=())
    for text in ("", "a a"):
        with pytest.raises(ValueError, match="it must stand once"):
            fault.planted(text)


VERDICTS = """
import json
from tests.mutation.campaign import campaign
from tests.mutation.fault import Fault
from tests.mutation.harness import preload

OF = {"file": "functional/kl.py", "why": "Nothing.", "caught_by": ("tests/functional/test_kl.py",)}
FAULTS = [
    Fault(name="sign", old="logps - ref_logps, 0.0).sum", new="ref_logps - logps, 0.0).sum", **OF),
    Fault(name="wording", old="Estimates of KL", new="Some estimates of KL", **OF),
    Fault(name="import", old="import torch\\n", new="import no_such_module\\n", **OF),
    Fault(name="place", old="no such text", new="", **OF),
]
preload()
report = campaign(FAULTS, jobs=2)
print(json.dumps([report["survivors"], {line["name"]: line["verdict"] for line in report["faults"]}]))
"""


@pytest.mark.truth
def test_the_harness_tells_a_fault_that_is_noticed_from_one_that_is_not():
    """A file that cannot be imported says nothing about its tests, and neither does a fault that was not planted."""
    done = subprocess.run([sys.executable, "-c", VERDICTS], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    survivors, verdicts = json.loads(done.stdout)
    assert verdicts == {"sign": "caught", "wording": "survived", "import": "broken", "place": "broken"}
    assert survivors == ["wording", "import", "place"]


@pytest.mark.truth
@pytest.mark.timeout(CAMPAIGN_LIMIT)
def test_every_fault_turns_the_tests_red(tmp_path):
    """A process of its own: this one has imported the package, so its forks could not take copies."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.mutation", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=CAMPAIGN_LIMIT)
    assert report.is_file(), done.stderr[-3000:]
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["green"], found["failures"]
    assert len(found["faults"]) == len(FAULTS)
    assert found["survivors"] == []
