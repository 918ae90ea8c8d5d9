"""Shapes and types in the signatures of ``mora.functional`` are checked at run time in every test."""

from __future__ import annotations

import logging

import pytest
from jaxtyping import install_import_hook

install_import_hook("mora.functional", "beartype.beartype")


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
