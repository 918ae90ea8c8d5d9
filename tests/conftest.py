"""Shapes and types in the signatures of ``mora.functional`` are checked at run time in every test."""

from __future__ import annotations

import pytest
from jaxtyping import install_import_hook

install_import_hook("mora.functional", "beartype.beartype")


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """One command, from nothing to a report: its overrides and its stages."""
    import mora
    from mora.stages import plan
    from mora.train import train
    from tests.chain import chain_options

    overrides = chain_options(tmp_path_factory.mktemp("chain") / "runs")
    cfg = mora.compose(*overrides)
    train(cfg, overrides)
    return overrides, plan(cfg, overrides)
