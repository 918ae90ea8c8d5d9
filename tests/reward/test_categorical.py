"""The categorical reward beyond what all kinds share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tests.judgments import judgments

import mora.run.opened
from mora.errors import InputError
from mora.export import export
from mora.functional import risk
from mora.reward.categorical import Categorical
from mora.reward.scorer import ModelScorer
from mora.reward.standardization import Standardization

KIND = Categorical(atoms=10, entropy=0.1)


def test_before_training_all_atoms_are_alike_and_the_loss_is_known() -> None:
    start = torch.tensor(KIND.initial_bias).view(1, 1, 11)
    belief = KIND.belief(start)
    torch.testing.assert_close(belief.weights, torch.full((1, 1, 10), 0.1))
    assert belief.levels is None and risk.mean(belief).item() == pytest.approx(0.0, abs=1e-7)
    # a toss-up costs ln 2, the entropy of ten like atoms is ln 10
    loss = KIND.loss(start, start, judgments(torch.ones(1, 1)))
    assert loss.item() == pytest.approx(math.log(2) - 0.1 * math.log(10))


def test_the_loss_of_a_pair_does_not_depend_on_the_batch() -> None:
    raw_0, raw_1 = torch.randn(2, 6, 2, 11, generator=torch.Generator().manual_seed(0))
    said = judgments(torch.rand(6, 2, generator=torch.Generator().manual_seed(1)))
    whole = KIND.loss(raw_0, raw_1, said)
    parts = [KIND.loss(raw_0[i : i + 2], raw_1[i : i + 2], said.take(torch.arange(i, i + 2))) for i in (0, 2, 4)]
    torch.testing.assert_close(whole, torch.cat(parts))


def test_acceptable_is_beating_the_middle() -> None:
    raw = torch.randn(4, 2, 12, generator=torch.Generator().manual_seed(0))
    kind = Categorical(atoms=11, entropy=0.1)
    middle = torch.zeros(4, 2, 12)
    middle[..., 6] = 200.0  # all mass at 0
    torch.testing.assert_close(kind.against_zero(raw), (kind.log_wins(raw, middle), kind.log_wins(middle, raw)))


@pytest.mark.parametrize(("fields", "key"), [({"atoms": 1}, "atoms"), ({"entropy": -0.1}, "entropy")])
def test_values_without_meaning_are_refused(fields: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError, match=f"reward.{key}"):
        Categorical(**{"atoms": 10, "entropy": 0.1, **fields})


def test_no_classifier_is_written_for_it(
    make_scorer: Callable[..., ModelScorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mean is no linear function of the features, and a linear head would score something else."""
    scorer = make_scorer(KIND)
    scorer.standardization = Standardization(mean=torch.zeros(2), std=torch.ones(2), provenance={})
    scorer.save(tmp_path / "reward")
    monkeypatch.setattr(mora.run.opened, "open_run", lambda run, runs: (SimpleNamespace(path=tmp_path), {}))
    cfg = OmegaConf.create(
        {
            "to": "classifier",
            "run": str(tmp_path),
            "paths": {"runs": "y"},
            "preference": None,
            "out": str(tmp_path / "out"),
        }
    )
    with pytest.raises(InputError, match="the mean of a categorical reward is not linear"):
        export(cfg, [])
    assert not (tmp_path / "out").exists()
