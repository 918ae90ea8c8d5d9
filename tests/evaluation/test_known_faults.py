"""Faults of tests/mutation that nothing else would notice: a front and an optimum, computed again from answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.adapters import svd_lora
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from mora.dataset.corpus import Corpus
from mora.dataset.encode import Encoder
from mora.evaluation.front import Front
from mora.evaluation.optimum import Optimum, sampled_optimum
from mora.functional.thinning import evenly
from mora.model.policy import Policy
from mora.reward.point import point_belief
from mora.reward.scorer import Scorer
from mora.reward.standardization import Standardization
from mora.runtime.sampling import decode
from mora.types import Row

WORDS = ["<eos>", "<pad>", "<unk>", "a", "b", "c", "d", "e"]
GRID = [[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]]
MEAN, STD = np.array([1.0, 2.0]), np.array([2.0, 0.5])
PROMPTS, SAMPLES = 3, 4


def _counts(text: str) -> list[float]:
    return [float(text.split().count(word)) for word in ("a", "b")]


class Counts(Scorer):
    """Scores an answer by its words "a" and "b", in units of its own."""

    def __init__(self) -> None:
        unit = Standardization(mean=torch.tensor(MEAN).float(), std=torch.tensor(STD).float(), provenance={})
        super().__init__(("many a", "many b"), unit)

    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Any = None) -> Any:
        return point_belief(torch.tensor([_counts(text) for text in responses])[..., None])


class CountingWorld:
    objectives, floor, name = ("many a", "many b"), (0.0, 0.0), "counting"

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Any = None) -> Any:
        return np.array([_counts(text) for text in responses])

    def front(self) -> Any:
        return np.array([[6.0, 0.0], [0.0, 6.0]])

    def valid(self, prompts: Sequence[str], responses: Sequence[str], ended: Any = None) -> Any:
        return np.array([len(text) > 0 for text in responses])

    def best(self, preferences: Any) -> Any:
        return 6.0 * np.asarray(preferences)


def _encoder() -> Encoder:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return Encoder(tokenizer, 6, 6, "error")


def _policy(moved: float) -> Policy:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
    settings = svd_lora(rank=1, init_std=1.0, head=True)
    adapter, generator = settings.attach(model, ["many a", "many b"], seed=0), torch.Generator().manual_seed(1)
    for parameter in adapter.singular_values():
        parameter.data.add_(moved * torch.randn(parameter.shape, generator=generator))
    return Policy(model, adapter, None)


def measured(
    policy: Policy,
    *,
    test: Sequence[str] = ("a", "b c", "c d e a"),
    train: Sequence[str] = ("e", "d d"),
    world: Any = None,
    resamples: int = 0,
):
    """The table, and every answer with the KL that belongs to it, in order."""
    front = Front(
        preferences=GRID,
        prompts=PROMPTS,
        samples=SAMPLES,
        batch_size=2 * SAMPLES,  # two prompts in a batch, then one
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        resamples=resamples,
        level=0.95,
    )
    corpus = _corpus(test, train, world)
    return front.measure(policy, _encoder(), corpus, {"reward": Counts()}, seed=0)


def _corpus(test: Sequence[str], train: Sequence[str], world: Any) -> Corpus:
    prompts = {"test": [Row(prompt=p) for p in test], "train": [Row(prompt=p) for p in train]}
    none: dict[str, list[Row]] = {"train": [], "test": []}
    return Corpus(
        name="counting", objectives=("many a", "many b"), supervised=none, pairs=none, prompts=prompts, fingerprint="",
        max_prompt=6, max_response=6, world=world,
    )  # fmt: skip


def test_prompts_that_were_trained_on_are_not_called_new(monkeypatch):
    """With held-out prompts these are asked, and indicators have intervals for new ones; without, neither."""
    monkeypatch.setattr("mora.evaluation.front.evenly", lambda rows, count: list(rows))
    words = [f"{one} {other}" for one in "abc" for other in "abcd"]
    policy = _policy(0.5)
    held_out, samples = measured(policy, test=words[:8], train=words[8:], resamples=100)
    assert held_out["split"] == "test" and {row["prompt"] for row in samples} == set(words[:8])
    assert "new prompts" in held_out["indicators"]["reward"]["hypervolume"]["covers"]
    trained, samples = measured(policy, test=(), train=words[:8], resamples=100)
    assert trained["split"] == "train" and {row["prompt"] for row in samples} == set(words[:8])
    assert trained["points"] == held_out["points"]
    assert not any("interval" in entry or "covers" in entry for entry in trained["indicators"]["reward"].values())


def _at(samples: list[dict[str, Any]], preference: list[float] | None) -> list[dict[str, Any]]:
    return [row for row in samples if row["preference"] == preference]


@pytest.fixture(scope="module")
def moved() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return measured(_policy(0.5))


def test_a_point_is_the_mean_standardized_score_of_its_own_answers(moved):
    table, samples = moved
    assert [point["preference"] for point in table["points"]] == GRID
    for point in [table["reference"], *table["points"]]:
        rows = _at(samples, point["preference"])
        scores = (np.array([_counts(row["response"]) for row in rows]) - MEAN) / STD
        assert scores.shape == (PROMPTS * SAMPLES, 2)
        assert np.allclose(point["reward"], scores.mean(0), atol=1e-5)
        assert np.allclose([row["reward"] for row in rows], scores, atol=1e-5)
    assert len({tuple(point["reward"]) for point in table["points"]}) == 3


def test_the_error_of_a_point_is_that_of_its_prompts_means(moved):
    """With equally many answers to each prompt: the deviation of the prompts' means over the root of their number."""
    table, samples = moved
    for point in table["points"]:
        rows = _at(samples, point["preference"])
        prompts = sorted({row["prompt"] for row in rows})
        for key in ("reward", "kl"):
            means = np.array([np.mean([row[key] for row in rows if row["prompt"] == p], axis=0) for p in prompts])
            assert np.allclose(point[f"{key}_stderr"], means.std(0, ddof=1) / np.sqrt(len(prompts)), atol=1e-5)


def test_the_kl_of_an_answer_is_that_of_the_policy_which_gave_it():
    policy, heard = _policy(0.5), []
    original = policy.generate

    def listen(prompts, preference, **more):
        tokens, mask = original(prompts, preference, **more)
        heard.append((prompts, preference, tokens, mask))
        return tokens, mask

    policy.generate = listen
    table, samples = measured(policy)
    found = []
    for prompts, preference, tokens, mask in heard:
        for row in range(len(tokens)):
            prompt, answer = prompts.ids[row, prompts.mask[row]], tokens[row, mask[row]]
            whole, places = (
                torch.cat([prompt, answer])[None],
                torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1),
            )
            with torch.no_grad():
                with policy.adapter.off():
                    base = policy.model(input_ids=whole).logits[0].log_softmax(-1)
                if preference is None:
                    found.append(0.0)
                    continue
                with policy.adapter.using(preference[row : row + 1]):
                    own = policy.model(input_ids=whole).logits[0].log_softmax(-1)
            found.append(float((own - base)[places, answer].sum()))
    assert [row["kl"] for row in samples] == pytest.approx(found, abs=1e-4)
    assert max(found) > 0.5
    for point in table["points"]:
        assert point["kl"] == pytest.approx(np.mean([row["kl"] for row in _at(samples, point["preference"])]))


def test_answers_that_were_cut_off_are_counted_where_they_stand(moved):
    """The share that ended, of each point and of the reference; no cut answer is longer than allowed or ended."""
    table, samples = moved
    assert table["max_response"] == 6
    for point in [table["reference"], *table["points"]]:
        rows = _at(samples, point["preference"])
        assert point["ended"] == pytest.approx(np.mean([row["ended"] for row in rows]))
        assert 0 < point["ended"] < 1
    assert all(row["ended"] or row["tokens"] == 6 for row in samples)
    words = [len(row["response"].split()) for row in samples if not row["ended"]]
    assert max(words) == 6  # none was lost


def test_a_policy_without_steering_says_the_same_at_every_preference():
    """Preferences share their random numbers: what differs along a front is the policy."""
    table, samples = measured(_policy(0.0))
    said = [[row["response"] for row in _at(samples, preference)] for preference in (None, *GRID)]
    assert said[1:] == said[:1] * 3 and len(set(said[0])) > 3
    assert all(point["reward"] == table["reference"]["reward"] and point["kl"] == 0 for point in table["points"])


def test_held_out_prompts_are_asked_where_there_are_any(moved):
    assert {row["prompt"] for row in moved[1]} == {"a", "b c", "c d e a"}
    _, samples = measured(_policy(0.0), test=())
    assert {row["prompt"] for row in samples} == {"e", "d d"}


def test_prompts_are_spread_over_the_file_and_samples_numbered(moved):
    rows = [Row(prompt=str(place)) for place in range(10)]
    assert [row.prompt for row in evenly(rows, 4)] == ["0", "2", "5", "7"]  # 0, 2.5, 5 and 7.5, rounded down
    assert evenly(rows, 20) == rows
    for preference in (None, *GRID):
        for prompt in ("a", "b c", "c d e a"):
            of_prompt = [row["sample"] for row in _at(moved[1], preference) if row["prompt"] == prompt]
            assert of_prompt == list(range(SAMPLES))


def test_indicators_see_each_point_at_its_own_preference(moved):
    table, _ = moved
    points = np.array([point["reward"] for point in table["points"]])
    by_hand = np.mean([np.dot(weights, point) for weights, point in zip(GRID, points, strict=True)])
    assert table["indicators"]["reward"]["inner_product"]["value"] == pytest.approx(by_hand)
    assert table["reference_point"]["reward"]["values"] == [-2.0, -2.0]


def test_what_a_world_knows_stands_beside_the_point_that_it_belongs_to():
    table, samples = measured(_policy(0.5), world=CountingWorld())
    for point, preference, best in zip(table["points"], GRID, table["world"]["best"], strict=True):
        rows = _at(samples, preference)
        assert best == [6.0 * weight for weight in preference]
        assert point["valid"] == pytest.approx(np.mean([len(row["response"]) > 0 for row in rows]))


# --- the optimum -----------------------------------------------------------------------------------------------------


def test_no_distribution_over_the_samples_is_worth_more_than_the_tilted_one():
    """``<w, E r> - beta KL(p || uniform)`` of the optimum against 2000 others, the vertices and itself."""
    generator, weights, kl_coef = np.random.default_rng(0), np.array([0.2, 0.5, 0.3]), 0.4
    rewards = generator.normal(size=(6, 3))
    found = sampled_optimum(rewards[None], rewards[None], weights, kl_coef=kl_coef)
    others = np.concatenate([generator.dirichlet(np.ones(6), 2000), np.eye(6), np.full((1, 6), 1 / 6)])
    kl = np.log(6) + np.where(others > 0, others * np.log(np.maximum(others, 1e-300)), 0.0).sum(1)
    worth = others @ rewards @ weights - kl_coef * kl
    assert found["utility"] == pytest.approx(found["gold"] @ weights - kl_coef * found["kl"])
    assert worth.max() <= found["utility"] < worth.max() + 0.05
    assert 1.0 < found["ess_min"] == found["ess_median"] < 6.0


FRONT = {
    "points": [
        {"preference": [1.0, 0.0], "gold": [2.0, 1.0], "kl": 0.5},
        {"preference": [0.0, 1.0], "gold": [1.0, 1.5], "kl": 0.25},
    ],
    "reference": {"gold": [1.0, 1.0]},
    "reference_point": {"gold": {"values": [0.0, 0.0]}},
    "world": {"best": [[6.0, 0.0], [0.0, 6.0]]},
}


def optimum(kl_coef: float, split: str = "test") -> tuple[dict[str, Any], Any]:
    """The table, and the gold scores (prompts, N, M) of the samples that it stands on."""
    policy, encoder, gold = _policy(0.5), _encoder(), []
    original, world = policy.generate, CountingWorld()

    def listen(prompts, preference, **more):
        assert preference is None
        tokens, mask = original(prompts, preference, **more)
        gold.append(world.gold(prompts.texts, decode(tokens, mask, encoder)[0]))
        return tokens, mask

    policy.generate = listen
    asked = ("a", "b c", "c d e a")
    corpus = _corpus(asked, ("d",), world) if split == "test" else _corpus((), asked, world)
    settings = Optimum(prompts=3, samples=8, batch_size=5)
    table = settings.measure(policy, encoder, corpus, FRONT, kl_coef=kl_coef, seed=0)
    return table, np.concatenate(gold).reshape(3, 8, 2)


def test_where_a_nat_costs_nothing_the_optimum_is_the_best_answer_to_each_prompt():
    table, gold = optimum(1e-4)
    assert table["mean"] == pytest.approx(gold.reshape(-1, 2).mean(0))
    assert table["std"] == pytest.approx(gold.reshape(-1, 2).std(0))
    for column, point in enumerate(table["points"]):
        best = gold[..., column].max(1)
        ties = (gold[..., column] == best[:, None]).sum(1)
        assert point["optimum"]["gold"][column] == pytest.approx(best.mean())
        assert point["optimum"]["kl"] == pytest.approx(np.log(8 / ties).mean())
        assert point["optimum"]["ess_min"] == pytest.approx(ties.min())


def test_the_optimum_says_whose_prompts_it_stands_on():
    table, gold = optimum(0.5)
    again, same = optimum(0.5, "train")
    assert (table["split"], again["split"]) == ("test", "train")
    assert np.array_equal(gold, same) and table["points"] == again["points"]


def test_where_a_nat_is_dear_the_optimum_is_the_reference_and_steering_costs():
    table, gold = optimum(1e4)
    mean, std = gold.reshape(-1, 2).mean(0), gold.reshape(-1, 2).std(0)
    for column, (point, reached) in enumerate(zip(table["points"], FRONT["points"], strict=True)):
        assert point["optimum"]["gold"] == pytest.approx(mean, abs=1e-3)
        assert point["optimum"]["utility"] == pytest.approx(0.0, abs=1e-3)
        standardized = (reached["gold"][column] - mean[column]) / std[column]
        assert point["reached_utility"] == pytest.approx(standardized - 1e4 * reached["kl"])
