from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mora.runtime.engine import Runtime

DRIVER = Path(__file__).with_name("driver.py")
ROOT = DRIVER.parents[2]


@pytest.fixture(scope="session")
def driver() -> ModuleType:
    """The training program as a module."""
    spec = importlib.util.spec_from_file_location("mora_test_driver", DRIVER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runtime(driver: ModuleType) -> Iterator[Runtime]:
    """One process on the CPU; torch's global switches are put back."""
    threads = torch.get_num_threads()
    yield Runtime(**driver.SETTINGS)
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def environment(**more: str) -> dict[str, str]:
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    path = os.environ.get("PYTHONPATH", str(ROOT / "src"))  # a copy of the package that is under test comes first
    return {**os.environ, **quiet, "PYTHONPATH": path, **more}


LAUNCHERS = {
    "single": [sys.executable],
    "forked": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    "ddp": ["launch/accelerate/ddp.yaml"],
    "zero2": ["launch/accelerate/zero2.yaml"],
}


@pytest.fixture
def start():
    """Start the driver under a launcher; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen] = []

    def begin(launcher: str, *arguments: object, **more: str) -> subprocess.Popen:
        command = LAUNCHERS[launcher]
        arguments = (*arguments, "--ranks", 2) if launcher == "forked" else arguments
        if command[0].startswith("launch/"):
            port = str(29501 + os.getpid() % 999)  # not the default, which others use
            module = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", port]
            command = [*module, "--config_file", *command]
        process = subprocess.Popen(
            [*command, str(DRIVER), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(**more),
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def run(start):
    """Run the driver to its end: exit code, last line of standard output, standard error."""

    def whole(launcher: str, *arguments: object, **more: str) -> tuple[int, str, str]:
        process = start(launcher, *arguments, **more)
        out, err = process.communicate(timeout=240)
        return process.returncode, out.strip().rsplit("\n", 1)[-1], err

    return whole
