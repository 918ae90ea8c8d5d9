"""Losses of models that are fitted to data: gradients against likelihoods written out, minima against closed forms."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from mora.dataset import collate
from mora.functional.margins import bradley_terry_loss, label_loss
from mora.functional.quantile import dbt_log_likelihood
from mora.reward import RewardKind
from mora.reward.categorical import Categorical
from mora.reward.gaussian import Gaussian
from mora.reward.quantile import Quantile
from mora.reward.rating import Rated
from mora.reward.scalar import Scalar
from mora.types import Row
from tests.algo.pieces import score_model_of
from tests.judgments import judgments
from tests.known.gradients import SETTINGS, algorithm

SCALAR = Scalar(strength="ignore", margin=0.0, centering=0.0, l2=0.0)
QUANTILE = Quantile(atoms=4, at=None, coupling="independent", initial_gap=0.3, centering=0.0)
COMONOTONE = dataclasses.replace(QUANTILE, coupling="comonotone")
PROBIT = Gaussian(
    link="probit", atoms=4, initial_scale=1.0, scale_penalty=0.01, centering=0.0, anchors=0.0, anchor_ratings=None
)
LOGISTIC = dataclasses.replace(PROBIT, link="logistic")
KINDS = {
    "scalar": SCALAR,
    "independent": QUANTILE,
    "comonotone": COMONOTONE,
    "probit": PROBIT,
    "logistic": LOGISTIC,
    "margins": dataclasses.replace(SCALAR, strength="margin", margin=0.7),
    "scaled": dataclasses.replace(SCALAR, strength="scale"),
    "anchored": dataclasses.replace(PROBIT, anchors=0.3, anchor_ratings=[-0.5, 0.75]),
    "categorical": Categorical(atoms=5, entropy=0.1),
    "rating": Rated(source="data", atoms=4, initial_location=0.0, initial_gap=0.3, noise=0.6),
}
OWN = tuple(setting for setting in SETTINGS if not setting.startswith(("reward=", "algo.")))


def quantiles(raw: Tensor) -> list[Tensor]:
    """The equally likely utilities of an answer with raw outputs (W,), from their definition."""
    steps = [torch.zeros_like(raw[0])]
    for value in raw[1:]:
        steps.append(steps[-1] + torch.log1p(value.exp()) + 1e-4)
    center = sum(steps) / len(steps)
    return [raw[0] + step - center for step in steps]


def scale(raw: Tensor) -> Tensor:
    """The deviation of a normal utility with raw outputs (2,), from its definition."""
    return torch.log1p(raw[1].exp()) + 0.01


def chances(raw: Tensor) -> Tensor:
    """The probabilities of atoms from -1 to 1 that an answer with raw outputs (A + 1,) has, from their definition."""
    masses = (raw[0] * torch.linspace(-1, 1, len(raw) - 1, dtype=torch.float64) + raw[1:]).exp()
    return masses / masses.sum()


def rating_loss(kind: Rated, raw: Tensor, rating: float) -> Tensor:
    """The tilted absolute error of each quantile, averaged over quantiles."""
    errors = [rating - value for value in quantiles(raw)]
    levels = [(k + 0.5) / kind.atoms for k in range(kind.atoms)]
    return (
        sum(error * (level if error > 0 else level - 1) for error, level in zip(errors, levels, strict=True))
        / kind.atoms
    )


def anchor_log_likelihood(kind: Gaussian, raw: Tensor, rating: float) -> Tensor:
    """The logarithm of the mass on the rating's side of the cuts at -1 and 1."""
    below, above = (
        [0.5 * torch.erfc(side * (raw[0] - cut) / (2**0.5 * scale(raw))) for cut in (-1, 1)] for side in (1, -1)
    )
    between = below[1] - below[0] if raw[0] > 0 else above[0] - above[1]
    first, second = kind.anchor_ratings
    return (below[0] if rating < first else between if rating < second else above[1]).log()


def wins(kind: RewardKind, raw_1: Tensor, raw_0: Tensor) -> Tensor:
    """The probability that answer 1 is better; raw outputs are (W,)."""
    if isinstance(kind, Gaussian):
        difference, variance = raw_1[0] - raw_0[0], scale(raw_1) ** 2 + scale(raw_0) ** 2
        if kind.link == "probit":
            return 0.5 * torch.erfc(-difference / (2 * variance).sqrt())
        nodes = torch.linspace(-14, 14, 4001, dtype=torch.float64)
        weights = (-(nodes**2) / 2).exp()
        return (weights / weights.sum() / (1 + (-difference - variance.sqrt() * nodes).exp())).sum()
    if isinstance(kind, Categorical):
        (p_1, p_0), places = (chances(raw_1), chances(raw_0)), range(kind.atoms)
        return sum(p_1[a] * p_0[b] * (1.0 if a > b else 0.5) for a in places for b in places if a >= b)
    highs, lows = quantiles(raw_1), quantiles(raw_0)
    comonotone = isinstance(kind, Quantile) and kind.coupling == "comonotone"
    both = zip(highs, lows, strict=True) if comonotone else itertools.product(highs, lows)
    pairs = [1 / (1 + (low - high).exp()) for high, low in both]
    return sum(pairs) / len(pairs)


def log_likelihood(
    kind: RewardKind,
    raw_0: Tensor,
    raw_1: Tensor,
    label: float,
    strength: float = 1.0,
    ratings: tuple[list[float], list[float]] = ([], []),
) -> Tensor:
    """``q log P + (1 - q) log(1 - P)`` with what the kind adds; of ratings alone less their loss."""
    rated = [(raw, rating) for raw, values in zip((raw_0, raw_1), ratings, strict=True) for rating in values]
    if isinstance(kind, Rated):
        return -sum(rating_loss(kind, raw, rating) for raw, rating in rated) / max(len(rated), 1)
    if isinstance(kind, Scalar) and kind.strength == "margin":  # the answer that is favored begins behind
        raw_1 = raw_1 - kind.margin * strength * ((label > 0.5) - (label < 0.5))
    probability = wins(kind, raw_1, raw_0)
    value = label * probability.log() + (1 - label) * (1 - probability).log()
    if isinstance(kind, Scalar) and kind.strength == "scale":
        value = value * strength
    if isinstance(kind, Categorical):
        both = (chances(raw_0) + chances(raw_1)) / 2
        value = value - kind.entropy * (both * both.log()).sum()
    if isinstance(kind, Gaussian) and kind.anchors and rated:
        value = value + kind.anchors * sum(anchor_log_likelihood(kind, raw, t) for raw, t in rated) / len(rated)
    if isinstance(kind, Gaussian):
        value = value - kind.scale_penalty * sum(scale(raw).log() ** 2 for raw in (raw_0, raw_1))
    return value


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_loss_of_a_reward_kind_is_its_negative_log_likelihood(kind):
    generator = torch.Generator().manual_seed(0)
    raw_0, raw_1 = (torch.randn(5, 2, kind.width, dtype=torch.float64, generator=generator) for _ in range(2))
    labels = torch.rand(5, 2, dtype=torch.float64, generator=generator)
    labels[0] = torch.tensor([1.0, 0.0])
    strengths = 2 * torch.rand(5, 2, dtype=torch.float64, generator=generator)
    ratings = torch.randn(2, 5, 2, 3, dtype=torch.float64, generator=generator)
    rated = torch.rand(2, 5, 2, 3, generator=generator) < 0.6
    rated[0, ..., 0] = True
    raws = raw_0.requires_grad_(), raw_1.requires_grad_()
    losses = kind.loss(*raws, judgments(labels, strengths=strengths, ratings=ratings, rated=rated))

    def expectation(b: int, m: int) -> Tensor:
        said = [ratings[side, b, m][rated[side, b, m]].tolist() for side in (0, 1)]
        return -log_likelihood(kind, raw_0[b, m], raw_1[b, m], float(labels[b, m]), float(strengths[b, m]), tuple(said))

    expected = torch.stack([torch.stack([expectation(b, m) for m in range(2)]) for b in range(5)])
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)
    for found, wanted in zip(
        torch.autograd.grad(losses.sum(), raws), torch.autograd.grad(expected.sum(), raws), strict=True
    ):
        assert float((found - wanted).norm() / wanted.norm()) < 1e-10


def _everyone_against_everyone(values: Tensor) -> tuple[Tensor, Tensor]:
    """All ordered pairs of rows."""
    count = len(values)
    first, second = torch.cartesian_prod(torch.arange(count), torch.arange(count)).unbind(1)
    keep = first != second
    return values[first[keep]], values[second[keep]]


def test_bradley_terry_finds_the_scores_that_made_the_labels():
    """With the true win probabilities as labels the minimum is the true scores, up to a constant; from any start."""
    truth = torch.tensor([-1.3, 0.2, 0.9, 2.0, -0.4], dtype=torch.float64)
    probability = torch.sigmoid(torch.sub(*reversed(_everyone_against_everyone(truth))))
    scores = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    optimizer = torch.optim.LBFGS([scores], max_iter=200, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        low, high = _everyone_against_everyone(scores)
        loss = bradley_terry_loss(high, low, probability, margin=0.0).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = scores.detach()
    torch.testing.assert_close(found - found.mean(), truth - truth.mean(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("label", "margin"), [(0.8, 0.0), (0.8, 0.7), (0.1, 0.7), (0.5, 0.7)])
def test_a_margin_moves_the_optimum_by_itself(label, margin):
    """``-[q log sigma(D - s m) + ...]`` is least at D = logit(q) + s m, s the sign of q - 1/2; a tie stays at 0."""
    best = math.log(label / (1 - label)) + margin * ((label > 0.5) - (label < 0.5))
    gap = torch.tensor(best, dtype=torch.float64, requires_grad=True)
    q = torch.tensor(label, dtype=torch.float64)
    loss = bradley_terry_loss(gap, torch.zeros_like(gap), q, margin=margin)
    (slope,) = torch.autograd.grad(loss, gap)
    assert abs(float(slope)) < 1e-12
    for moved in (best - 0.1, best + 0.1):
        other = bradley_terry_loss(torch.tensor(moved, dtype=torch.float64), q * 0, q, margin=margin)
        assert float(other) > float(loss.detach())


def test_distributional_bradley_terry_is_at_rest_at_the_distributions_that_made_the_labels():
    """The gradient is 0 there, and not at the same means without a spread."""
    truth = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).sort(1).values * 2
    low, high = _everyone_against_everyone(truth)
    probability = torch.sigmoid(high[:, :, None] - low[:, None, :]).mean((1, 2))

    def slope(values: Tensor) -> float:
        values = values.clone().requires_grad_()
        low, high = _everyone_against_everyone(values)
        loss = label_loss(dbt_log_likelihood(high, low), dbt_log_likelihood(low, high), probability).mean()
        return float(torch.autograd.grad(loss, values)[0].norm())

    assert slope(truth) < 1e-12
    assert slope(truth.mean(1, keepdim=True).expand(-1, 3)) > 1e-3


PAIRS = [
    Row(prompt="a", responses=("b c", "d"), labels={"r1": 1.0, "r2": None}),
    Row(prompt="b c", responses=("a", "e e"), labels={"r1": 0.0, "r2": 0.5}),
    Row(prompt="c", responses=("", "a b"), labels={"r1": None, "r2": 0.0}),
    Row(prompt="d e", responses=("d d", "b"), labels={"r1": 0.75, "r2": 1.0}),
]


@pytest.mark.parametrize("kind", ["scalar", "qr", "hk9", "gaussian", "categorical"])
def test_a_reward_model_ascends_the_likelihood_of_its_labels(tmp_path, kind):
    """Padded pairs in one batch, labels missing: against every sequence alone and the likelihood written out."""
    bare = [] if kind == "categorical" else ["reward.centering=0.0"]
    algo = algorithm(["algo=reward_model", f"reward={kind}", *bare, *OWN], tmp_path, 0)
    _, tokenizer = algo.context.starting_model(frozen=False)
    encoder = algo.context.encoder(tokenizer)
    model = score_model_of(algo, encoder).double()
    generator = torch.Generator().manual_seed(5)
    head = model.head.linear
    head.weight = nn.Parameter(0.3 * torch.randn(head.weight.shape, dtype=torch.float64, generator=generator))
    head.bias = nn.Parameter(head.bias.detach().double())
    pairs = collate.pairs(PAIRS, encoder, ("r1", "r2"))
    counts = torch.tensor([3.0, 3.0])
    loss, _ = algo.loss(model, pairs, counts)

    def raw(prompt: str, response: str) -> Tensor:
        ids = torch.tensor([[*encoder.prompt(prompt), *encoder.response(response)]])
        last = model.backbones.trunks[0](input_ids=ids, use_cache=False).last_hidden_state[0, -1]
        return (head.weight @ last + head.bias).view(2, -1)

    own = algo.context.reward
    terms = [
        -log_likelihood(own, raw(row.prompt, row.responses[0])[m], raw(row.prompt, row.responses[1])[m], label) / 3
        for row in PAIRS
        for m, label in enumerate(row.labels.values())
        if label is not None
    ]
    expected = torch.stack(terms).sum()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-10)
    _agree(loss, expected, model, 1e-10)


def test_fine_tuning_ascends_the_likelihood_of_the_answers(tmp_path):
    """Prompts of different length in one batch: against each row alone; a prompt's own tokens do not count."""
    algo = algorithm(["algo=sft", "reward=gold", *OWN], tmp_path, 0)
    model, tokenizer = algo.context.starting_model(frozen=False)
    encoder, model = algo.context.encoder(tokenizer), model.double()
    rows = [Row(prompt="a", responses=("b c",)), Row(prompt="b c", responses=("",)), Row(prompt="d", responses=("e",))]
    tokens = 3 + 1 + 2
    loss = algo.loss(model, collate.supervised(rows, encoder), tokens)
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        start, answer = encoder.prompt(row.prompt), encoder.response(row.responses[0])
        logits = model(torch.tensor([[*start, *answer]]), use_cache=False).logits[0]
        for place, token in enumerate(answer, len(start)):
            total = total - logits[place - 1].log_softmax(-1)[token]
    _agree(loss, total / tokens, model, 1e-10)


def _agree(loss: Tensor, expected: Tensor, model: nn.Module, tolerance: float) -> None:
    """The same gradient with respect to all weights that have one."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    wanted = torch.autograd.grad(expected, weights, allow_unused=True)
    assert [g is None for g in found] == [g is None for g in wanted]
    flat, other = (torch.cat([g.flatten() for g in side if g is not None]) for side in (found, wanted))
    assert float((flat - other).norm() / other.norm()) < tolerance
