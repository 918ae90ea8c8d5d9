"""Coarse classes of absolute ratings beside pairs: they fix the location and the unit that probit pairs leave open."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Any

import pytest
import torch
from tests.judgments import judgments
from torch import Tensor

from mora.errors import InputError
from mora.functional.thurstone import positive_scale, probit_log_likelihood, scale_bias
from mora.reward.gaussian import Gaussian
from mora.types import Judgments, Row

PAIRS = Gaussian(
    link="probit", atoms=9, initial_scale=1.0, scale_penalty=1e-9, centering=0.0, anchors=0.0, anchor_ratings=None
)
ANCHORED = dataclasses.replace(PAIRS, scale_penalty=0.0, anchors=0.1, anchor_ratings=[7.5, 12.5])
ITEMS, ANNOTATORS = 16, 400
LOCATION = torch.linspace(-1.5, 2.0, ITEMS, dtype=torch.float64)
SCALE = torch.tensor([0.4, 1.5], dtype=torch.float64).repeat(ITEMS // 2)
FIRST, SECOND = torch.triu_indices(ITEMS, ITEMS, offset=1)


def population() -> Judgments:
    """All pairs of items, labelled with the exact probability; a rating is 10 + 2.5 times the utility felt."""
    label = probit_log_likelihood(LOCATION[SECOND], LOCATION[FIRST], SCALE[SECOND], SCALE[FIRST]).exp()
    normal = torch.tensor([NormalDist().inv_cdf((i + 0.5) / ANNOTATORS) for i in range(ANNOTATORS)]).double()
    felt = LOCATION[:, None] + SCALE[:, None] * normal
    ratings = 10 + 2.5 * torch.stack([felt[FIRST], felt[SECOND]])
    return judgments(label[:, None], ratings=ratings[:, :, None])


def outputs(location: Tensor, scale: Tensor) -> Tensor:
    """Raw outputs (items, 1, 2)."""
    return torch.stack([location, (scale - 0.01).expm1().log()], -1)[:, None]


def test_probit_pairs_leave_the_unit_open_and_anchors_fix_it() -> None:
    said = population()
    losses: dict[float, list[float]] = {}
    for factor in (0.5, 1.0, 2.0):
        raw = outputs(factor * LOCATION, factor * SCALE)
        losses[factor] = [kind.loss(raw[FIRST], raw[SECOND], said).mean().item() for kind in (PAIRS, ANCHORED)]
    assert losses[0.5][0] == pytest.approx(losses[1.0][0], abs=1e-7) == pytest.approx(losses[2.0][0], abs=1e-7)
    assert losses[1.0][1] < losses[0.5][1] - 0.002 and losses[1.0][1] < losses[2.0][1] - 0.002
    moved = outputs(LOCATION + 1.0, SCALE)
    assert PAIRS.loss(moved[FIRST], moved[SECOND], said).mean().item() == pytest.approx(losses[1.0][0], abs=1e-7)
    assert ANCHORED.loss(moved[FIRST], moved[SECOND], said).mean().item() > losses[1.0][1] + 0.02


def test_with_anchors_locations_and_scales_come_back_in_absolute_units() -> None:
    said = population()
    raw = torch.tensor([0.0, scale_bias(1.0)], dtype=torch.float64).repeat(ITEMS, 1, 1).requires_grad_()
    optimizer = torch.optim.LBFGS([raw], max_iter=200, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = ANCHORED.loss(raw[FIRST], raw[SECOND], said).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = raw.detach()[:, 0]
    torch.testing.assert_close(found[:, 0], LOCATION, atol=0.03, rtol=0)
    torch.testing.assert_close(positive_scale(found[:, 1]), SCALE, atol=0.03, rtol=0)


def test_ratings_teach_without_a_label_and_count() -> None:
    """Pairs: labelled and rated; rated alone; labelled alone; neither."""
    raw = torch.randn(2, 4, 1, 2, generator=torch.Generator().manual_seed(0))
    labelled = torch.tensor([[True], [False], [True], [False]])
    ratings = torch.tensor([5.0, 10.0]).expand(2, 4, 1, 2)
    rated = torch.tensor([True, True, False, False])[None, :, None, None].expand(2, 4, 1, 2).clone()
    rated[1, 1] = False
    said = judgments(torch.ones(4, 1), labelled, ratings=ratings, rated=rated)
    assert ANCHORED.covered(said).squeeze(-1).tolist() == [True, True, True, False]
    assert PAIRS.covered(said).squeeze(-1).tolist() == [True, False, True, False]
    found, bare = (kind.loss(*raw, said).squeeze(-1) for kind in (ANCHORED, PAIRS))
    normal = [[NormalDist(float(r[0]), float(positive_scale(r[1]))) for r in side[:, 0]] for side in raw]
    below, between = ([[d.cdf(c) for d in side] for side in normal] for c in (-1.0, 1.0))
    nats = [[-math.log(b), -math.log(a - b)] for a, b in zip(between[0], below[0], strict=True)]
    assert found[1].item() == pytest.approx(0.1 * sum(nats[1]) / 2, rel=1e-5)
    other = [-math.log(below[1][0]), -math.log(between[1][0] - below[1][0])]
    assert (found - bare)[0].item() == pytest.approx(0.1 * sum([*nats[0], *other]) / 4, rel=1e-4)
    assert found[2].item() == pytest.approx(bare[2].item()) and found[3].item() == 0.0


def test_anchors_want_ratings_on_every_objective() -> None:
    bare = Row(prompt="p", responses=("a", "b"), labels={"r1": 1.0, "r2": 0.0}, ratings={"r1": ((1.0,), ())})
    PAIRS.check_rows([bare], ["r1", "r2"])
    ANCHORED.check_rows([bare], ["r1"])
    with pytest.raises(InputError, match="objective r2: .*r2_rating_0.*reward.anchors"):
        ANCHORED.check_rows([bare], ["r1", "r2"])
    with pytest.raises(InputError, match="objective r3: no training pair has a label"):
        ANCHORED.check_rows([bare], ["r3"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"anchors": -0.1}, "anchors=-0.1: must be at least 0"),
        ({"anchor_ratings": None}, "anchor_ratings=.*25th and the 75th percentile"),
        ({"anchor_ratings": [3.0]}, "anchor_ratings=.*two ratings"),
        ({"anchor_ratings": [3.0, 3.0]}, "anchor_ratings=.*two ratings, the lower one first"),
        ({"anchor_ratings": [3.0, math.nan]}, r"anchor_ratings\[1\]=nan: "),
        ({"anchors": 0.0}, "scale_penalty=0 with reward.link=probit"),
    ],
)
def test_values_without_meaning_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        dataclasses.replace(ANCHORED, **fields)
