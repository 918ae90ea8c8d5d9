"""All responses of a small vocabulary against brute force, on random conditional tables and on a tiny policy."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import product

import pytest
import torch
from tests.adapters import sequences, svd_lora

from mora.dataset import collate
from mora.dataset.worlds.oracle import Oracle
from mora.errors import InputError
from mora.functional import risk
from mora.model.load import ModelSpec
from mora.model.policy import Policy
from mora.reward.point import point_belief
from mora.reward.scorer import GoldScorer, Scorer
from mora.reward.standardization import Standardization
from mora.runtime.enumeration import Enumeration, Responses
from mora.runtime.sampling import decode
from mora.settings.compose import compose
from mora.settings.identity import plain
from mora.types import Row

CPU = torch.device("cpu")
WORDS, LENGTH = 4, 3  # with the end token 1 + 4 + 16 + 64 = 85 responses
PROMPTS = ["b", "a d", "d"]  # one is longer: the others are padded
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)

SIZES = [
    pytest.param(vocabulary, length, eos, id=f"{vocabulary} tokens, {length} places, end {eos}")
    for vocabulary, length, eos in [(2, 3, 1), (3, 1, 0), (3, 4, 0), (4, 2, 3), (5, 3, 2), (8, 4, 0)]
]


def every_response(vocabulary: int, length: int, eos: int) -> set[tuple[int, ...]]:
    """Sequences up to their end token or of full length, each once."""
    content = [token for token in range(vocabulary) if token != eos]
    ended = {(*words, eos) for count in range(length) for words in product(content, repeat=count)}
    return ended | set(product(content, repeat=length))


# --- responses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vocabulary", "length", "eos"), SIZES)
def test_every_response_stands_there_once(vocabulary, length, eos):
    found = Responses.of(vocabulary, length, eos, limit=3000)
    expected = every_response(vocabulary, length, eos)
    sequences = [tuple(row[keep].tolist()) for row, keep in zip(found.tokens, found.mask, strict=True)]
    assert len(sequences) == len(expected) and set(sequences) == expected
    assert found.tokens.shape == found.mask.shape == (len(expected), length)


@pytest.mark.parametrize(("vocabulary", "length", "eos"), SIZES)
def test_masks_cover_the_first_tokens_and_padding_is_the_end(vocabulary, length, eos):
    found = Responses.of(vocabulary, length, eos, limit=3000)
    assert found.mask.dtype == torch.bool and bool(found.mask[:, 0].all())
    assert bool((found.mask[:, :-1] | ~found.mask[:, 1:]).all())  # nothing after a gap
    assert bool((found.tokens[~found.mask] == eos).all())


@pytest.mark.parametrize(("vocabulary", "length", "eos"), SIZES)
def test_prefixes_and_content(vocabulary, length, eos):
    found = Responses.of(vocabulary, length, eos, limit=3000)
    content = [token for token in range(vocabulary) if token != eos]
    assert found.content.tolist() == content and found.eos == eos
    assert [tuple(row) for row in found.prefixes.tolist()] == list(product(content, repeat=length - 1))


def test_the_shipped_oracle_has_2801_responses():
    # 7 words and the end at 4 places: 1 + 7 + 49 + 343 that end, 7^4 that do not.
    assert len(Responses.of(8, 4, 0, limit=2801).tokens) == 400 + 2401 == 2801


def test_more_than_the_limit_is_refused():
    with pytest.raises(InputError, match=r"8 tokens at 4 places make more than 2,800 responses"):
        Responses.of(8, 4, 0, limit=2800)
    with pytest.raises(InputError, match="dataset=oracle"):
        Responses.of(50_000, 64, 0, limit=20_000)  # before anything of that size is made


def test_a_vocabulary_of_a_language_model_is_refused():
    with pytest.raises(InputError, match="dataset=oracle"):
        Responses.of(151_936, 1024, 0, limit=20_000)


def random_table(
    vocabulary: int, length: int, eos: int, generator: torch.Generator
) -> dict[tuple[int, ...], torch.Tensor]:
    """Log-probabilities (V,) of the next token after every sequence of content tokens."""
    content = [token for token in range(vocabulary) if token != eos]
    prefixes = [words for count in range(length) for words in product(content, repeat=count)]
    draws = 2 * torch.randn(len(prefixes), vocabulary, dtype=torch.float64, generator=generator)
    return dict(zip(prefixes, draws.log_softmax(-1), strict=True))


@pytest.mark.parametrize(("vocabulary", "length", "eos"), SIZES)
def test_logps_are_the_products_of_conditional_probabilities(vocabulary, length, eos):
    generator = torch.Generator().manual_seed(1)
    responses = Responses.of(vocabulary, length, eos, limit=3000)
    tables = [random_table(vocabulary, length, eos, generator) for _ in range(2)]  # of two prompts
    steps = torch.stack(
        [
            torch.stack(
                [
                    torch.stack([table[tuple(prefix[:place])] for place in range(length)])
                    for prefix in responses.prefixes.tolist()
                ]
            )
            for table in tables
        ]
    )
    sequences = [row[keep].tolist() for row, keep in zip(responses.tokens, responses.mask, strict=True)]
    expected = [
        [sum(float(table[tuple(row[:place])][token]) for place, token in enumerate(row)) for row in sequences]
        for table in tables
    ]
    found = responses.logps(steps)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, dtype=torch.float64))
    assert torch.equal(responses.logps(steps[1]), found[1])


# --- a policy --------------------------------------------------------------------------------------------------------


def shipped(group: str, name: str, **changes):
    keys = plain(compose("train", [f"{group}={name}"])[group])
    del keys["_target_"]
    return keys | changes


@pytest.fixture(scope="module")
def setting():
    """World, encoder and a policy in double precision, far from uniform and from its reference."""
    few = {kind: {"train": 16, "test": 2} for kind in ("supervised", "pairs")}
    few |= {"words": WORDS, "topics": 3, "reach": [1.0], "held_out": 0, "max_response": LENGTH}
    keys = shipped("dataset", "oracle", **few)
    corpus = Oracle(**keys).load(("r1", "r2"), 0)
    spec = ModelSpec(**shipped("model", "micro"))
    tokenizer = spec.tokenizer(corpus.tokenizer_texts(), tokens=corpus.tokens)
    assert len(tokenizer) == WORDS + 1
    model = spec.build(tokenizer, seed=0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(6.0)
    settings = svd_lora(rank=3, head=True)
    policy = Policy(model, settings.attach(model, ["r1", "r2"], seed=0), None).double().eval()
    generator = torch.Generator().manual_seed(2)
    for parameter in policy.adapter.singular_values():
        parameter.data.add_(torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
    return corpus, corpus.encoder(tokenizer), policy


def enumeration(setting, prompts):
    return Enumeration([Row(prompt=prompt) for prompt in prompts], setting[1], CPU, limit=100)


@pytest.fixture(scope="module")
def everything(setting):
    return enumeration(setting, PROMPTS)


def logps_of(everything, policy, preference, **more):
    """As ``Enumeration.logps``; without a preference, of the reference policy."""
    with nullcontext() if preference is not None else policy.off():
        return everything.logps(policy, preference, **more)


@torch.no_grad()
def one_by_one(setting, everything, preference):
    """Log-probabilities (X, Y) from ``Policy.forward`` on each prompt with each response."""
    _, encoder, policy = setting
    tokens, mask = everything.responses.tokens, everything.responses.mask
    prompts = collate.prompts([Row(prompt=prompt) for prompt in PROMPTS for _ in tokens], encoder)
    ids = torch.cat([prompts.ids, tokens.repeat(len(PROMPTS), 1)], 1)
    whole = torch.cat([prompts.mask, mask.repeat(len(PROMPTS), 1)], 1)
    rows = None if preference is None else preference.expand(len(ids), -1)
    with nullcontext() if preference is not None else policy.off():
        forward = policy(sequences(ids, whole, rows, response=LENGTH), with_values=False)
    return (forward.logps * mask.repeat(len(PROMPTS), 1)).sum(-1).view(len(PROMPTS), len(tokens))


CASES = [pytest.param(WEIGHTS, id="policy"), pytest.param(None, id="reference")]


@pytest.mark.parametrize("preference", CASES)
@torch.no_grad()
def test_probabilities_sum_to_one_and_agree_with_the_policy(setting, everything, preference):
    logps = logps_of(everything, setting[2], preference)
    assert logps.shape == (3, 85) and logps.dtype == torch.float64
    torch.testing.assert_close(logps.exp().sum(-1), torch.ones(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(logps, one_by_one(setting, everything, preference), atol=1e-10, rtol=0)
    assert float((logps[0] - logps[2]).abs().max()) > 0.1  # the prompt matters
    assert float(logps.exp().max()) > 0.1  # and the policy is far from uniform


@torch.no_grad()
def test_the_preference_matters_and_none_is_the_reference(setting, everything):
    policy = setting[2]
    logps = {w: logps_of(everything, policy, torch.tensor(w, dtype=torch.float64)) for w in [(1.0, 0.0), (0.0, 1.0)]}
    reference = logps_of(everything, policy, None)
    assert float((logps[1.0, 0.0] - logps[0.0, 1.0]).abs().max()) > 0.1
    assert all(float((found - reference).abs().max()) > 0.1 for found in logps.values())
    values = policy.adapter.singular_values()
    kept = [value.detach().clone() for value in values]
    for value in values:
        value.zero_()  # the adapter's start
    at_start = logps_of(everything, policy, WEIGHTS)
    for value, before in zip(values, kept, strict=True):
        value.copy_(before)
    assert torch.equal(at_start, reference)


@pytest.mark.parametrize("preference", CASES)
@torch.no_grad()
def test_the_batch_size_does_not_matter(setting, everything, preference):
    whole = logps_of(everything, setting[2], preference)
    for size in (1, 7, 16, 1000):  # 3 x 16 prefixes; a batch may hold parts of two prompts
        found = logps_of(everything, setting[2], preference, batch_size=size)
        torch.testing.assert_close(found, whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("preference", CASES)
@torch.no_grad()
def test_a_prompt_counts_the_same_alone_and_among_longer_ones(setting, everything, preference):
    assert everything.mask.all(1).tolist() == [False] * 16 + [True] * 16 + [False] * 16
    together = logps_of(everything, setting[2], preference)
    for place, prompt in enumerate(PROMPTS):
        alone = logps_of(enumeration(setting, [prompt]), setting[2], preference)
        torch.testing.assert_close(alone, together[place : place + 1], atol=1e-10, rtol=0)


def test_the_gradient_reaches_the_adapter_and_total_probability_has_none(setting, everything):
    policy = setting[2]
    trained = policy.adapter.singular_values()
    logps = logps_of(everything, policy, WEIGHTS, batch_size=20)
    some = torch.autograd.grad(logps[:, 0].sum(), trained, retain_graph=True)
    total = torch.autograd.grad(logps.exp().sum(), trained)
    assert all(float(gradient.abs().max()) > 1e-3 for gradient in some)
    assert all(float(gradient.abs().max()) < 1e-10 for gradient in total)


# --- rewards ---------------------------------------------------------------------------------------------------------


def test_texts_are_the_words_before_the_end(setting, everything):
    encoder = setting[1]
    assert len(set(everything.texts)) == 85 and everything.prompts == PROMPTS
    for text, row, keep in zip(everything.texts, everything.responses.tokens, everything.responses.mask, strict=True):
        words = [token for token in row[keep].tolist() if token != encoder.eos]
        assert encoder.tokenizer(text, add_special_tokens=False)["input_ids"] == words


def test_rewards_are_the_gold_of_each_text(setting, everything):
    corpus = setting[0]
    mean, std = torch.tensor([0.25, 0.5]), torch.tensor([2.0, 0.5])
    scorer = GoldScorer(corpus.world, Standardization(mean=mean, std=std, provenance={}))
    rewards = everything.rewards(scorer, risk.mean)
    assert rewards.shape == (3, 85, 2)
    for x, prompt in enumerate(PROMPTS):
        gold = torch.from_numpy(corpus.world.gold([prompt] * 85, everything.texts)).float()
        torch.testing.assert_close(rewards[x], (gold - mean) / std)
        # The 64 responses without an end hold a word too many, and "b" and "d" are no prompts of this world.
        assert bool((gold[[len(text.split()) == 3 for text in everything.texts]] == 0).all())
        assert bool(gold.any()) == (prompt == "a d")


def test_an_enumerated_response_is_scored_as_a_sampled_one_is(setting, everything):
    """Those without an end are read without one: 21 of the 85 have an end token."""
    _, encoder, _ = setting
    heard = []

    class Listening(Scorer):
        def raw(self, prompts, responses, sampled=None):
            batch = collate.scored(prompts, responses, encoder, sampled)
            ends = ((batch.ids == encoder.eos) & batch.response).any(-1).float()
            heard.append(batch.ids[batch.response].tolist())
            return point_belief(ends[:, None, None].expand(-1, 2, 1))

    scorer = Listening(("r1", "r2"), Standardization(mean=torch.zeros(2), std=torch.ones(2), provenance={}))
    rewards = everything.rewards(scorer, risk.mean)
    assert rewards[0, :, 0].tolist() == [1.0] * 21 + [0.0] * 64
    texts, sampled = decode(everything.responses.tokens, everything.responses.mask, encoder)
    scorer.raw(["a"] * 85, texts, sampled)
    assert heard[0] == heard[1] * 3 == everything.responses.tokens[everything.responses.mask].tolist() * 3


def test_the_reference_gets_mean_0_and_deviation_1_exactly(setting):
    corpus, _, policy = setting
    everything = enumeration(setting, ["a d", "b d", "c d"])
    with torch.no_grad():
        ref_logps = logps_of(everything, policy, None)
    scorer = GoldScorer(corpus.world)
    everything.standardize(scorer, ref_logps)
    rewards = everything.rewards(scorer, risk.mean).double()
    share = ref_logps.exp()[..., None] / 3
    torch.testing.assert_close((share * rewards).sum((0, 1)), torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close((share * rewards**2).sum((0, 1)), torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)
    # By hand: mean and deviation of the gold under mean_x pi_ref(y|x).
    gold = torch.stack([torch.from_numpy(corpus.world.gold([p] * 85, everything.texts)) for p in everything.prompts])
    mean = (share * gold).sum((0, 1))
    deviation = (share * (gold - mean) ** 2).sum((0, 1)).sqrt()
    torch.testing.assert_close(scorer.standardization.mean.double(), mean, atol=1e-7, rtol=0)
    torch.testing.assert_close(scorer.standardization.std.double(), deviation, atol=1e-7, rtol=0)
    assert scorer.standardization.provenance["weights"] == "exact"
    uniform = torch.full_like(ref_logps, 1 / 85).log()
    other = GoldScorer(corpus.world)
    everything.standardize(other, uniform)
    assert float((other.standardization.mean - scorer.standardization.mean).abs().max()) > 1e-3  # the weights count
