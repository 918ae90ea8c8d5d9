"""Regret to truth: against sampling, at its limits, and beside a class limit."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.adapters import sequences
from tests.known.gradients import algorithm

from mora.errors import InputError
from mora.evaluation.regret import Regret, _mixtures, with_limit
from mora.evaluation.truth import Truth
from mora.functional.risk import mean
from mora.functional.scalarize import Linear, Minimum, Tchebycheff, TchebycheffExpected, TchebycheffPrompt
from mora.functional.tilting import exact_kl, expected
from mora.model.adapter import place
from mora.model.full import Full, FullAdapter
from mora.model.generate import Sampling
from mora.model.policy import Policy
from mora.reward.scorer import GoldScorer
from mora.reward.standardization import Standardization
from mora.runtime.actor import trainable
from mora.runtime.sampling import decode, sample_rows

KL_COEF = 0.3
COMMAND = (
    "algo=panacea",
    "dataset=oracle",
    "dataset.words=5",
    "dataset.topics=2",
    "dataset.max_response=3",
    "dataset.supervised={train: 8, test: 8}",
    "dataset.pairs={train: 8, test: 8}",
    "model=micro",
    "reward=gold",
    "adapter.rank=3",
)
SCALARIZERS = (
    Linear(),
    Tchebycheff(ideal=6.0, augment=0.1, temperature=0.0),
    TchebycheffExpected(ideal=6.0, augment=0.1),
    TchebycheffPrompt(ideal=6.0, augment=0.1),
    Minimum(augment=0.1, temperature=0.0),
)


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """Context, a policy away from its reference, and its encoder."""
    algo = algorithm(COMMAND, tmp_path_factory.mktemp("run"), 0)
    model, tokenizer = algo.context.starting_model(frozen=True)
    policy = trainable(algo.context, model, critic_width=None)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in policy.adapter.singular_values():
            weight.add_(3 * torch.randn(weight.shape, generator=generator))
    return algo.context, policy, algo.context.encoder(tokenizer)


def measured(moved, *, scalarize=SCALARIZERS[0], limit=200, preferences=None, scorer=None):
    context, policy, encoder = moved
    evaluator = Regret(preferences=preferences, kl_coef=None, limit=None, max_responses=limit, batch_size=50)
    scorers = {"gold": scorer or GoldScorer(context.corpus.world)}
    return evaluator.measure(policy, encoder, context.corpus, scorers, risk=mean, scalarize=scalarize, kl_coef=KL_COEF)


def start_of(moved):
    """The same with the plain model that it started from, which is its own reference."""
    context, policy, encoder = moved
    model = copy.deepcopy(policy.model)
    place(model, {path: copy.deepcopy(layer.base) for path, layer in policy.adapter.layers.items()})
    return context, Policy(model, FullAdapter(model, model, Full(lr=0.0), []), None), encoder


def test_exact_expectations_are_those_of_sampling(moved):
    """2,048 answers to each prompt: mean gold score and KL within four standard errors."""
    context, policy, encoder = moved
    table = measured(moved, preferences=[[0.3, 0.7]])
    (point,) = table["splits"]["train"]["scorers"]["gold"]["points"]
    weights = torch.tensor([[0.3, 0.7]])
    prompts, _ = sample_rows(context.corpus.prompts["train"], 2048, encoder, torch.device("cpu"))
    rows = weights.expand(len(prompts.texts), -1)
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    tokens, mask = policy.generate(
        prompts, rows, sampling=sampling, seed=0, step=0, max_new_tokens=3, ends=encoder.ends, pad=encoder.pad
    )
    gold = context.corpus.world.gold(prompts.texts, decode(tokens, mask, encoder)[0])
    ids, keep = torch.cat([prompts.ids, tokens], 1), torch.cat([prompts.mask, mask], 1)
    with torch.no_grad():
        logps = policy(sequences(ids, keep, rows, response=3), with_values=False).logps
        kl = torch.where(mask, logps - policy.reference(sequences(ids, keep, response=3)), 0.0).sum(1).numpy()
    found = np.column_stack([gold, kl])
    wanted = np.array([*point["gold"]["policy"], point["kl"]["policy"]])
    error = found.std(0) / len(found) ** 0.5
    assert point["kl"]["policy"] > 0.1
    assert (np.abs(found.mean(0) - wanted) < 4 * error).all()


@pytest.mark.parametrize("scalarize", SCALARIZERS, ids=lambda one: type(one).__name__)
def test_the_reference_has_all_the_regret_and_the_optimum_none(moved, scalarize):
    unsteered = measured(start_of(moved), scalarize=scalarize)["splits"]["train"]["scorers"]["gold"]
    assert [point["relative_regret"] for point in unsteered["points"]] == pytest.approx([1.0] * 11, abs=1e-12)
    assert unsteered["summary"]["kl_mean"] == 0
    for point in measured(moved, scalarize=scalarize)["splits"]["train"]["scorers"]["gold"]["points"]:
        assert point["relative_regret"] > 0  # nothing is better than the optimum
        assert point["utility"]["optimum"] > point["utility"]["reference"]


@pytest.mark.parametrize("scalarize", SCALARIZERS, ids=lambda one: type(one).__name__)
def test_a_policy_nearer_the_optimum_has_less_regret_and_the_optimum_itself_none(scalarize):
    generator = np.random.default_rng(0)
    reference = np.log(generator.dirichlet(np.ones(20), size=3))
    rewards = generator.normal(size=(3, 20, 2))
    truth = Truth(ref_logps=reference, rewards=rewards, scalarize=scalarize, kl_coef=KL_COEF)
    preference = np.array([0.4, 0.6])
    best = truth.optimum(preference)
    assert truth.utility(best.logps, preference, best) == pytest.approx(best.utility, rel=1e-9)
    between = [np.log((1 - t) * np.exp(reference) + t * np.exp(best.logps)) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    utilities = [truth.utility(one, preference, best) for one in between]
    assert utilities == sorted(utilities)  # the utility is concave in the probabilities
    assert exact_kl(best.logps, reference) > 0
    assert expected(best.logps, rewards).shape == (2,)


def test_held_out_prompts_are_measured_apart_in_the_units_of_training(moved):
    """Each split by its own optimum and reference; the statistics of rewards are those of the prompts of training."""
    context, policy, encoder = moved
    table = measured(moved, preferences=[[0.3, 0.7]])
    asked = {split: [row.prompt for row in rows] for split, rows in context.corpus.prompts.items()}
    assert {split: found["prompts"] for split, found in table["splits"].items()} == asked
    assert asked["test"] == ["a c", "b e"]
    trained, held_out = (table["splits"][split]["scorers"]["gold"] for split in ("train", "test"))
    assert held_out["units"] == trained["units"]
    (point,) = held_out["points"]
    assert point["reward"]["reference"] != pytest.approx([0.0, 0.0], abs=1e-3)  # another mean than that of training
    alone = copy.deepcopy(context.corpus)
    alone.prompts = {"train": alone.prompts["test"], "test": []}
    scorer = GoldScorer(alone.world)
    scorer.standardization = Standardization(
        mean=torch.tensor(trained["units"]["mean"]), std=torch.tensor(trained["units"]["std"]), provenance={}
    )
    (again,) = measured((replace(context, corpus=alone), policy, encoder), preferences=[[0.3, 0.7]], scorer=scorer)[
        "splits"
    ]["train"]["scorers"]["gold"]["points"]
    assert again["utility"] == pytest.approx(point["utility"], abs=1e-6)


@pytest.mark.parametrize("scalarize", SCALARIZERS, ids=lambda one: type(one).__name__)
def test_the_regret_of_each_prompt_where_a_utility_is_a_mean_over_prompts(moved, scalarize):
    """Gains add up: the mean regret is the mean of the prompts', weighted by what there was to gain."""
    judged = measured(moved, scalarize=scalarize)["splits"]["train"]["scorers"]["gold"]
    if isinstance(scalarize, TchebycheffExpected):
        assert all(point["by_prompt"] is None for point in judged["points"])
        assert judged["summary"]["relative_regret_worst_prompt"] is None
        return
    for point in judged["points"]:
        assert len(point["by_prompt"]) == 4 and min(point["by_prompt"]) > 0
        assert min(point["by_prompt"]) <= point["relative_regret"] <= max(point["by_prompt"])
    each = np.mean([point["by_prompt"] for point in judged["points"]], axis=0)
    assert judged["summary"]["relative_regret_worst_prompt"] == pytest.approx(each.max())


def test_what_mixtures_reach_of_unequal_prompts_is_a_mean_over_them():
    """Ends (1, 0) and (0, .5) on one prompt, (.5, 0) and (0, 1) on the other: means of four, of which three stand out.

    (.75, 0), (.5, .5), (.25, .25) inside, (0, .75).
    """
    gold = np.array([[[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]], [[0.5, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    assert sorted(_mixtures(gold).tolist()) == [[0.0, 0.75], [0.5, 0.5], [0.75, 0.0]]
    assert sorted(_mixtures(gold[[0, 0]]).tolist()) == [[0.0, 0.5], [1.0, 0.0]]


def test_regret_tells_the_two_tchebycheff_utilities_of_expectations_apart(moved):
    """Prompts that lack different objectives: the best policy of one utility misses much of the other."""
    generator = np.random.default_rng(0)
    reference = np.log(generator.dirichlet(np.ones(30), size=2))
    rewards = generator.normal(size=(2, 30, 2)) / 2 - 2 * np.eye(2)[:, None]
    truths = [
        Truth(ref_logps=reference, rewards=rewards, scalarize=form(ideal=2.0, augment=0.0), kl_coef=0.1)
        for form in (TchebycheffExpected, TchebycheffPrompt)
    ]
    preference = np.array([0.5, 0.5])
    best = [truth.optimum(preference) for truth in truths]
    for truth, mine, other in zip(truths, best, reversed(best), strict=True):
        start = truth.utility(reference, preference, mine)
        assert truth.utility(mine.logps, preference, mine) == pytest.approx(mine.utility, abs=1e-12)
        assert (mine.utility - truth.utility(other.logps, preference, mine)) / (mine.utility - start) > 0.05


def test_units_are_those_of_the_reference_policy_exactly(moved):
    """Gold comes without statistics: the reference's own probabilities give mean 0 and deviation 1."""
    table = measured(moved, preferences=[[0.5, 0.5]])
    judged = table["splits"]["train"]["scorers"]["gold"]
    (point,) = judged["points"]
    assert point["reward"]["reference"] == pytest.approx([0.0, 0.0], abs=1e-6)
    units = np.array([judged["units"]["mean"], judged["units"]["std"]])
    for who in ("policy", "optimum"):
        rescaled = (np.array(point["gold"][who]) - units[0]) / units[1]
        assert rescaled == pytest.approx(point["reward"][who], abs=1e-5)


def test_too_many_responses_are_refused(moved):
    with pytest.raises(InputError, match="more than 100 responses"):
        measured(moved, limit=100)


def test_a_class_limit_stands_beside_the_run_it_belongs_to(moved):
    mine, other = measured(moved), measured(start_of(moved))
    table = with_limit(copy.deepcopy(mine), other, "exact-run")
    assert table["splits"]["train"]["scorers"]["gold"]["limit"]["summary"]["relative_regret_mean"] == pytest.approx(1.0)
    assert table["splits"]["train"]["scorers"]["gold"]["points"] == mine["splits"]["train"]["scorers"]["gold"]["points"]


def floored(table):
    point = table["splits"]["train"]["scorers"]["gold"]["points"][0]
    point["utility"]["optimum"] -= 0.1
    point["constraints"] = {"x": {"floor": 0.5, "multiplier": 1.0}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update(kl_coef=0.2), "its kl_coef is 0.2"),
        (lambda t: t["splits"].pop("test"), "its prompts are"),
        (lambda t: t["splits"]["train"]["scorers"]["gold"]["points"].pop(), "its optimum differs"),
        (
            lambda t: t["splits"]["train"]["scorers"]["gold"]["points"][0]["utility"].update(optimum=9.0),
            "its optimum differs",
        ),
        (lambda t: t["splits"]["train"]["scorers"].pop("gold"), "its optimum differs"),
        (floored, "preferences and floors .scalarize.floors.: it has x at least 0.5, this run none"),
    ],
)
def test_a_class_limit_of_another_truth_is_refused(moved, change, said):
    other = measured(moved)
    change(other)
    with pytest.raises(InputError, match=said):
        with_limit(measured(moved), other, "exact-run")


def test_yaml_keys_are_the_fields():
    import dataclasses

    import yaml

    keys = yaml.safe_load((Path(__file__).parents[2] / "conf" / "evaluation" / "regret.yaml").read_text())
    assert set(keys) - {"_target_", "measures", "takes"} == {field.name for field in dataclasses.fields(Regret)}
