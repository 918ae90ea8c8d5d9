"""Tasks as conf/task makes them, run on rows that stand in no file."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mora.dataset.read import Record
from mora.run.build import build
from mora.task.row_counts import RowCounts

CONF = Path(__file__).parents[2] / "conf" / "task"


@pytest.fixture
def make_task():
    """The task of a name with some of its keys changed."""

    def make(name, **keys):
        config = OmegaConf.load(CONF / f"{name}.yaml")
        config.update(keys)
        return build(OmegaConf.to_container(config))

    return make


@pytest.fixture
def run(make_task):
    """The rows that a task gives, and where its rows went; the counts must add up."""

    def carry_out(name, rows, **keys):
        counts = RowCounts()
        records = (Record(where=f"row {n}", fields=row, raw=row) for n, row in enumerate(rows, 1))
        found = list(make_task(name, **keys).rows(records, counts))
        assert counts.total == len(rows) == counts.used + counts.left_out.total() + len(counts.rejected)
        return [row for _, row in found], counts

    return carry_out
