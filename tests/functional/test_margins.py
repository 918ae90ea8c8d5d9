from __future__ import annotations

import math

import pytest
import torch

from mora.functional.margins import bradley_terry_loss, centering_loss, l2_loss, strength_loss


def loss(difference: float, label: float, margin: float = 0.0) -> float:
    zero = torch.zeros(1, dtype=torch.float64)
    return bradley_terry_loss(zero + difference, zero, zero + label, margin=margin).item()


def test_known_values() -> None:
    # sigma(0) = 1/2; sigma(ln 3) = 3/4, so label 1 costs ln 4/3 and label 0 costs ln 4.
    assert math.isclose(loss(0.0, 1.0), math.log(2))
    assert math.isclose(loss(math.log(3), 1.0), math.log(4 / 3))
    assert math.isclose(loss(math.log(3), 0.0), math.log(4))
    # A soft label mixes the two: 3/4 ln 4/3 + 1/4 ln 4.
    assert math.isclose(loss(math.log(3), 0.75), 0.75 * math.log(4 / 3) + 0.25 * math.log(4))


def test_margin_asks_more_of_the_favored_answer_on_either_side() -> None:
    # A difference of ln 3 minus a margin of ln 3 leaves 0: ln 2.
    assert math.isclose(loss(math.log(3), 1.0, margin=math.log(3)), math.log(2))
    assert math.isclose(loss(-math.log(3), 0.0, margin=math.log(3)), math.log(2))


def test_strengths_are_ignored_asked_for_or_weigh() -> None:
    # Leads of ln 3 under a margin of ln 3: strength 1 leaves a lead of 0 and a loss of ln 2, strength 2 one of -ln 3
    # and ln 4; strength 0 asks for nothing: ln 4/3.
    lead = torch.full((3,), math.log(3), dtype=torch.float64)
    zero, strength = torch.zeros_like(lead), torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    found = {
        use: strength_loss(lead, zero, zero + 1, strength, margin=math.log(3), use=use).tolist()
        for use in ("ignore", "margin", "scale")
    }
    assert found["ignore"] == pytest.approx([math.log(2)] * 3)
    assert found["margin"] == pytest.approx([math.log(2), math.log(4), math.log(4 / 3)])
    assert found["scale"] == pytest.approx([math.log(2), 2 * math.log(2), 0.0])


def test_a_tie_has_its_least_loss_at_no_lead_and_it_is_ln_2() -> None:
    losses = {lead: loss(lead, 0.5) for lead in (-3.0, -0.1, -1e-3, 0.0, 1e-3, 0.1, 3.0)}
    assert min(losses, key=lambda lead: losses[lead]) == 0.0
    assert math.isclose(losses[0.0], math.log(2))
    assert math.isclose(losses[3.0], losses[-3.0])


def test_margin_leaves_the_optimum_of_a_tie_at_zero() -> None:
    difference = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    value = bradley_terry_loss(difference, torch.zeros(1).double(), torch.full((1,), 0.5).double(), margin=2.0)
    value.sum().backward()
    assert math.isclose(value.item(), math.log(2))
    assert difference.grad is not None and difference.grad.item() == 0.0


def test_optimum_of_a_soft_label_is_its_logit() -> None:
    # d/dD of the cross-entropy is sigma(D) - q, which is 0 at D = ln(q / (1 - q)) = ln 4 for q = 0.8.
    difference = torch.full((1,), math.log(4), dtype=torch.float64, requires_grad=True)
    bradley_terry_loss(
        difference, torch.zeros(1).double(), torch.full((1,), 0.8, dtype=torch.float64), margin=0.0
    ).sum().backward()
    assert difference.grad is not None and abs(difference.grad.item()) < 1e-12


def test_extreme_differences_stay_finite() -> None:
    assert math.isclose(loss(-1e4, 1.0), 1e4)
    assert loss(1e4, 1.0) == 0.0


def test_regularizers() -> None:
    two, three = torch.tensor([2.0]), torch.tensor([3.0])
    assert centering_loss(two, three).item() == 25.0  # (2 + 3)^2
    assert centering_loss(-two, two).item() == 0.0  # a gap is free
    assert l2_loss(two, three).item() == 13.0  # 4 + 9
