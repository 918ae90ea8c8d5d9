"""Each architecture works, or is refused with what works instead, as docs/models.md says of it."""

from __future__ import annotations

import pytest
from tests.model.architectures import BEGIN, CONFIGS, DOCS, END, line, tried

SAMPLE = ("bamba", "gemma3", "gpt2", "mamba2", "opt", "phimoe")
ALL = [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.truth) for name in sorted(CONFIGS)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ALL)
def test_an_architecture_does_what_the_table_says(tmp_path, name):
    table = DOCS.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    row = line(name, tried(name, tmp_path))
    assert f"`{name}`" in table.splitlines()[1] if row is None else row in table


def test_there_are_enough_of_them():
    assert len(CONFIGS) >= 40 and set(SAMPLE) <= CONFIGS.keys()
