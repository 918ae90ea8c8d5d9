"""Shapes and types in the signatures of ``mora.functional`` are checked at run time in every test."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import typing
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("mora.functional", "beartype.beartype")
if sys.version_info < (3, 12):  # which keeps them itself; numpy's ArrayLike is a protocol, and its check took longest
    typing._get_protocol_attrs = functools.cache(typing._get_protocol_attrs)  # type: ignore[attr-defined]


LONGEST = (
    "life/test_demo.py",
    "known/test_regret.py",
    "mutation/test_mutation.py",
    "life/test_processes.py",
    "runtime/test_distributed.py",
    "test_stages.py",
    "test_adding.py",
    "report/test_page.py",
    "settings/test_real_tree.py",
    "algo/test_battery.py",
    "security/test_files_of_settings.py",
    "test_comparing.py",
    "settings/test_launch.py",
    "algo/test_panacea.py",
    "dataset/test_corruption.py",
    "algo/test_sharing.py",
    "evaluation/test_compare.py",
    "security/test_models.py",
    "test_needs.py",
    "task/test_prepare_command.py",
    "settings/test_values.py",
    "security/test_secrets.py",
    "test_comparing_rewards.py",
    "known/test_gradients.py",
    "dataset/test_tokens.py",
    "model/test_architectures.py",
)


def pytest_collection_modifyitems(items):
    """Files that take long begin first: none of them is left for the end, where the other worker would have nothing."""
    place = {Path(__file__).parent / name: order for order, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish():
    """Test modules and all that they import stay: collecting garbage, as each stage does, need not look at them.

    It is collected less often than usual: settings are many small objects, and looking for cycles among them is slow.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """One command, from nothing to a report: its overrides and its stages.

    Only the last page has its pictures, and no page the files of its figures (``without_files``).
    """
    import mora
    from mora.report.chain import redraw
    from mora.run.plan import plan
    from mora.train import train
    from tests.chain import chain_options, without_files, without_pictures

    overrides = chain_options(tmp_path_factory.mktemp("chain") / "runs")
    cfg = mora.compose(*overrides)

    def drawn(folder):
        with pytest.MonkeyPatch.context() as patch:
            (without_files if folder.path.name.startswith("panacea-") else without_pictures)(patch)
            return redraw(folder.path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mora.run.execute.report", drawn)
        train(cfg, overrides)
    return overrides, plan(cfg, overrides)


@pytest.fixture(scope="session", autouse=True)
def _unsynced():
    """No test cuts the power, so no file has to be on the disk: what is written counts for every process at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def undrawn(monkeypatch):
    from tests.chain import without_pictures

    without_pictures(monkeypatch)


@pytest.fixture
def unfiled(monkeypatch):
    from tests.chain import without_files

    without_files(monkeypatch)


@pytest.fixture(autouse=True)
def _own_hydra():
    """What Hydra keeps of a command goes with the test that ran it.

    That is a handler of the root logger, on the output of that test, and its settings, with a folder of the user's own.
    """
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    if "hydra.core.hydra_config" in sys.modules:
        sys.modules["hydra.core.hydra_config"].HydraConfig.instance().cfg = None
    for handler in root.handlers[:]:
        if handler not in before and type(handler).__module__ == "logging":
            root.removeHandler(handler)
