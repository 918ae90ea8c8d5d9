"""The garden as its YAML describes it, small where the test does not need all rows."""

from __future__ import annotations

import pytest

from mora.dataset.worlds.garden import Garden
from mora.settings.compose import compose
from mora.settings.identity import plain


@pytest.fixture(scope="session")
def settings():
    """Keys of conf/dataset/<name>.yaml, with changes."""

    def read(name="garden", **changes):
        keys = plain(compose("train", [f"dataset={name}"]).dataset)
        del keys["_target_"]
        return keys | changes

    return read


@pytest.fixture(scope="session")
def load(settings):
    """A corpus of the garden: the shipped sizes unless ``small``."""

    def make(*objectives, seed=0, small=None, **changes):
        if small:
            changes |= {kind: {"train": small, "test": small} for kind in ("supervised", "pairs")}
        return Garden(**settings(**changes)).load(objectives, seed)

    return make


@pytest.fixture(scope="session")
def corpus(load):
    """The shipped corpus."""
    return load("cure", "care")


@pytest.fixture(scope="session")
def world(load):
    """A world with these objectives."""

    def make(*objectives):
        return load(*objectives, small=1).world

    return make
