"""Shapes and types in the signatures of ``mora.functional`` are checked at run time in every test."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("mora.functional", "beartype.beartype")


LONGEST = (
    "life/test_demo.py",
    "known/test_regret.py",
    "mutation/test_mutation.py",
    "life/test_processes.py",
    "runtime/test_distributed.py",
    "test_comparing.py",
    "test_stages.py",
    "test_comparing_rewards.py",
    "algo/test_panacea.py",
    "model/test_architectures.py",
    "report/test_page.py",
)


def pytest_collection_modifyitems(items):
    """Files that take long begin first: none of them is left for the end, where the other worker would have nothing."""
    place = {Path(__file__).parent / name: order for order, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """One command, from nothing to a report: its overrides and its stages.  Only the last page has its pictures."""
    import mora
    from mora.report.chain import redraw
    from mora.run.plan import plan
    from mora.train import train
    from tests.chain import chain_options, without_pictures

    overrides = chain_options(tmp_path_factory.mktemp("chain") / "runs")
    cfg = mora.compose(*overrides)

    def drawn(folder):
        if folder.path.name.startswith("panacea-"):
            return redraw(folder.path)
        with pytest.MonkeyPatch.context() as patch:
            without_pictures(patch)
            return redraw(folder.path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mora.run.execute.report", drawn)
        train(cfg, overrides)
    return overrides, plan(cfg, overrides)


@pytest.fixture
def undrawn(monkeypatch):
    from tests.chain import without_pictures

    without_pictures(monkeypatch)


@pytest.fixture(autouse=True)
def _own_logging():
    """Hydra hands the root logger a handler on the output of the test that ran a command: it goes with that test."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in root.handlers[:]:
        if handler not in before and type(handler).__module__ == "logging":
            root.removeHandler(handler)
