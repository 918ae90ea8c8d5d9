from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoConfig, AutoModelForCausalLM

from mora.functional.noise import Stream, uniform
from mora.model import generate as module
from mora.model.generate import Sampling, draw, generate, response_mask
from mora.types import Prompts

EOS, PAD, NEVER = 1, 2, -1
PLAIN = Sampling(temperature=1.0, top_p=1.0, top_k=0)


def _noise(count: int) -> torch.Tensor:
    return uniform(0, Stream.GENERATION, torch.arange(count))


def _probabilities(tokens: int = 12) -> torch.Tensor:
    return torch.randn(tokens, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(2).softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_draws_have_the_frequencies_of_the_softmax(temperature):
    probs = _probabilities()
    tokens = draw(probs.log().expand(50_000, -1), Sampling(temperature=temperature, top_p=1.0, top_k=0), _noise(50_000))
    expected = probs ** (1 / temperature)
    expected = (expected / expected.sum()).numpy() * 50_000
    assert stats.chisquare(np.bincount(tokens.numpy(), minlength=12), expected).pvalue > 1e-3


def test_an_even_grid_of_noise_gives_every_token_its_share_exactly():
    probs, count = _probabilities(), 10_000
    grid = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = draw(probs.log().expand(count, -1), PLAIN, grid)
    shares = torch.bincount(tokens, minlength=12) / count
    assert (shares - probs).abs().max() <= 1 / count


def _nucleus(probs: list[float], top_p: float) -> set[int]:
    """The smallest set of most probable tokens whose probability reaches top_p."""
    kept: set[int] = set()
    for token in sorted(range(len(probs)), key=lambda i: -probs[i]):
        kept.add(token)
        if sum(probs[i] for i in kept) >= top_p:
            break
    return kept


@pytest.mark.parametrize(("top_p", "top_k"), [(0.3, 0), (0.7, 0), (0.999, 0), (1.0, 1), (1.0, 5), (0.6, 3), (1.0, 99)])
def test_filters_against_brute_force(top_p, top_k):
    probs = _probabilities()
    ranked = sorted(range(12), key=lambda i: -float(probs[i]))[: top_k or 12]
    renormalized = [float(probs[i] / probs[ranked].sum()) if i in ranked else 0.0 for i in range(12)]
    kept = _nucleus(renormalized, top_p)
    count = 20_000
    grid = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = draw(probs.log().expand(count, -1), Sampling(temperature=1.0, top_p=top_p, top_k=top_k), grid)
    shares = torch.bincount(tokens, minlength=12) / count
    expected = torch.tensor([float(probs[i]) if i in kept else 0.0 for i in range(12)])
    assert (shares - expected / expected.sum()).abs().max() < 2 / count


@pytest.mark.parametrize("vocabulary", [255, 256, 257, 3000])
def test_draws_from_a_large_vocabulary_invert_its_cumulative_distribution(vocabulary):
    generator = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(500, vocabulary, generator=generator, dtype=torch.float64) * 4
    logits[:, :130] = -torch.inf
    logits[:100, 200:] = -torch.inf  # whole blocks without a token that has a probability
    logits[100:200, 131:-1] = -torch.inf
    noise = _noise(500)
    tokens = draw(logits, PLAIN, noise)
    cumulative = logits.softmax(-1).numpy().cumsum(-1)
    expected = [
        np.searchsorted(row, u * row[-1], side="right") for row, u in zip(cumulative, noise.numpy(), strict=True)
    ]
    assert tokens.tolist() == expected
    rounded = draw(logits.float(), PLAIN, noise)
    assert torch.isfinite(logits.gather(1, rounded[:, None])).all()
    assert (rounded != tokens).float().mean() < 0.01


@pytest.mark.parametrize("noise", [1e-17, 1 - 1e-16])
def test_the_ends_of_a_large_vocabulary_are_drawn_only_where_they_have_a_probability(noise):
    logits = torch.full((1, 1000), -torch.inf)
    logits[0, [300, 301, 700]] = torch.tensor([0.0, 1.0, -3.0])
    assert int(draw(logits, PLAIN, torch.tensor([noise], dtype=torch.float64))) == (300 if noise < 0.5 else 700)


def test_a_token_without_probability_is_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf, -torch.inf]])
    for noise in (1e-17, 0.5, 1 - 1e-16):
        assert int(draw(logits, PLAIN, torch.tensor([noise], dtype=torch.float64))) in (1, 2)


def test_temperature_zero_takes_the_most_probable_token():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert draw(logits, Sampling(temperature=0.0, top_p=0.1, top_k=1), _noise(2)).tolist() == [1, 0]


def test_a_response_ends_with_its_first_end_token_also_when_padding_is_that_token():
    tokens = torch.tensor([[5, EOS, EOS, EOS], [EOS, 5, 6, 7], [5, 6, 7, 8], [5, 6, 7, EOS]])
    assert response_mask(tokens, EOS).long().sum(-1).tolist() == [2, 1, 4, 4]
    assert response_mask(tokens, EOS)[0].tolist() == [True, True, False, False]


def _pick(prompts: Prompts, index: torch.Tensor) -> Prompts:
    return Prompts(
        ids=prompts.ids[index],
        mask=prompts.mask[index],
        row_ids=prompts.row_ids[index],
        texts=[prompts.texts[i] for i in index.tolist()],
    )


def _sample(policy, prompts, weights, eos: int = EOS, **changed):
    how = {"sampling": PLAIN, "seed": 3, "step": 5, "max_new_tokens": 10, "ends": [eos], "pad": PAD} | changed
    with policy.off() if weights is None else nullcontext():
        return policy.eval().generate(prompts, weights, **how)


@pytest.fixture
def seen(monkeypatch) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Row ids and logits of every step of a generation."""
    steps: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = {"draw": module.draw, "uniform": module.uniform}

    def listen(seed, stream, step, rows, t):
        steps.append((rows.clone(), torch.empty(0)))
        return original["uniform"](seed, stream, step, rows, t)

    def watch(logits, sampling, noise):
        steps[-1] = (steps[-1][0], logits.clone())
        return original["draw"](logits, sampling, noise)

    monkeypatch.setattr(module, "uniform", listen)
    monkeypatch.setattr(module, "draw", watch)
    yield steps


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("eos", [EOS, NEVER], ids=["rows leave", "rows stay"])
def test_logits_with_the_cache_are_those_of_the_full_forward(make_policy, make_prompts, simplex, seen, kind, eos):
    """Eleven preferences, prompts of different lengths; each row keeps its own while others leave the batch."""
    policy, prompts, weights = make_policy(kind), make_prompts(11), simplex(11)
    tokens, response = _sample(policy, prompts, weights, eos, max_new_tokens=12)
    sizes = [len(rows) for rows, _ in seen]
    assert (sizes[-1] < 11) == (eos == EOS)
    place = {int(row): i for i, row in enumerate(prompts.row_ids)}
    for t, (rows, logits) in enumerate(seen):
        for n, row in enumerate(rows.tolist()):
            i = place[row]
            if not response[i, t]:
                continue  # the row has ended and waits to leave
            whole = torch.cat([prompts.ids[i, prompts.mask[i]], tokens[i, :t]])[None]
            with torch.no_grad(), policy.adapter.using(weights[i : i + 1]):
                expected = policy.model(input_ids=whole, use_cache=False).logits[0, -1]
            assert (logits[n] - expected).abs().max() < 1e-5 * max(1.0, float(expected.abs().max()))


def test_the_mask_ends_at_the_end_token_and_the_rest_is_padding(make_policy, make_prompts, simplex):
    tokens, mask = _sample(make_policy(), make_prompts(64), simplex(64))
    lengths = mask.sum(-1)
    assert lengths.min() < 10 and lengths.max() == 10
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        assert EOS not in row[: length - 1] and bool((row[length:] == PAD).all())
        assert length == 10 or row[length - 1] == EOS


def test_padding_may_be_the_end_token(make_policy, make_prompts, simplex):
    policy, prompts, weights = make_policy(), make_prompts(32), simplex(32)
    tokens, mask = _sample(policy, prompts, weights)
    shared, shared_mask = _sample(policy, prompts, weights, pad=EOS)
    assert torch.equal(mask, shared_mask) and torch.equal(tokens[mask], shared[mask])


def test_greedy_sampling_is_that_of_transformers(make_policy, make_prompts, tmp_path):
    policy, prompts = make_policy(base=tmp_path), make_prompts(16)
    tokens, mask = _sample(policy, prompts, None, sampling=Sampling(temperature=0.0, top_p=1.0, top_k=0))
    stock = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    expected = stock.generate(
        input_ids=prompts.ids,
        attention_mask=prompts.mask.long(),
        do_sample=False,
        max_new_tokens=10,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )[:, prompts.ids.shape[1] :]
    width = expected.shape[1]
    assert torch.equal(torch.where(mask, tokens, PAD)[:, :width], expected) and not mask[:, width:].any()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_row_says_the_same_alone_in_any_batch_and_at_any_place(make_policy, make_prompts, simplex, kind, capsys):
    """The share of rows that rounding changes is measured and printed; each row has its own preference."""
    count = 160
    policy, prompts, weights = make_policy(kind), make_prompts(count), simplex(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    tokens, mask = _sample(policy, prompts, weights)

    def compare(found: torch.Tensor, index: torch.Tensor) -> int:
        pairs = zip(found, tokens[index], mask[index], strict=True)
        return sum(not torch.equal(row[keep], other[keep]) for row, other, keep in pairs)

    flips, compared = 0, 0
    stay, _ = _sample(policy, prompts, weights, NEVER)  # no row ever leaves
    pieces = [(order, count), (torch.arange(count), 13), (order[:20], 1)]
    for index, size in pieces:
        for part in index.split(size):
            flips += compare(_sample(policy, _pick(prompts, part), weights[part])[0], part)
        compared += len(index)
    flips, compared = flips + compare(stay, torch.arange(count)), compared + count
    with capsys.disabled():
        print(f"\n{kind}: rounding changed {flips} of {compared} sampled rows")
    assert len({tuple(row.tolist()) for row in tokens}) > 0.9 * count
    assert flips < 0.01 * compared


def test_seed_step_and_row_each_change_what_is_sampled(make_policy, make_prompts, simplex):
    policy, prompts, weights = make_policy(), make_prompts(8), simplex(8)
    base = _sample(policy, prompts, weights)[0]
    assert torch.equal(_sample(policy, prompts, weights)[0], base)
    other = Prompts(ids=prompts.ids, mask=prompts.mask, row_ids=prompts.row_ids + 1, texts=prompts.texts)
    variants = [(prompts, {"seed": 4}), (prompts, {"step": 6}), (other, {})]
    for given, changed in variants:
        assert not torch.equal(_sample(policy, given, weights, **changed)[0], base)


def test_samples_of_one_prompt_differ_by_their_row_ids(make_policy, make_prompts, simplex):
    one = _pick(make_prompts(1), torch.zeros(12, dtype=torch.long))
    one.row_ids = torch.arange(12)
    tokens, _ = _sample(make_policy(), one, simplex(1).expand(12, -1))
    assert len({tuple(row.tolist()) for row in tokens}) > 6


def test_sampled_frequencies_follow_the_model(make_policy, make_prompts, simplex):
    """The first token of 4000 answers to one prompt against the softmax that training computes."""
    policy, weights = make_policy(), simplex(1)
    prompts = _pick(make_prompts(1), torch.zeros(4000, dtype=torch.long))
    prompts.row_ids = torch.arange(4000)
    tokens, _ = _sample(policy, prompts, weights.expand(4000, -1), max_new_tokens=1)
    with torch.no_grad(), policy.adapter.using(weights):
        probs = policy.model(input_ids=prompts.ids[:1, prompts.mask[0]]).logits[0, -1].double().softmax(-1).numpy()
    counts = np.bincount(tokens[:, 0].numpy(), minlength=len(probs))
    rare = probs * 4000 < 5  # a chi-square test needs some in every cell: rare tokens share one
    merged = [np.append(x[~rare], x[rare].sum()) if rare.any() else x for x in (counts, probs * 4000)]
    assert stats.chisquare(*merged).pvalue > 1e-3


def test_a_plain_model_is_sampled_without_adapter(make_prompts, make_policy, tmp_path):
    policy, prompts = make_policy(base=tmp_path), make_prompts(6)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens, mask = generate(stock, prompts, sampling=PLAIN, seed=3, step=5, max_new_tokens=10, ends=[EOS], pad=PAD)
    expected, expected_mask = _sample(policy, prompts, None)
    assert torch.equal(tokens, expected) and torch.equal(mask, expected_mask)


class Older(torch.nn.Module):
    """A causal model whose forward has the name for a cache that transformers had before 5.24, and swallows others."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, input_ids, past_key_values=None, **others):
        assert past_key_values is not None and "cache" not in others
        name = module._cache_name(self.model)
        return self.model(input_ids=input_ids, **others, **{name: past_key_values})


def test_the_cache_goes_by_the_name_that_the_model_has_for_it(make_prompts, make_policy, tmp_path):
    make_policy(base=tmp_path)
    stock, prompts = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), make_prompts(6)
    how = {"sampling": PLAIN, "seed": 3, "step": 5, "max_new_tokens": 10, "ends": [EOS], "pad": PAD}
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        tokens, _ = generate(stock, prompts, **how)
    assert torch.equal(generate(Older(stock), prompts, **how)[0], tokens)


def test_a_model_with_absolute_positions_says_the_same_under_padding(make_prompts):
    """GPT-2 has a table of positions: the first token of a prompt has position 0 however far to the right it stands."""
    config = AutoConfig.for_model(
        "gpt2", vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=EOS
    )
    torch.manual_seed(0)
    model, prompts = AutoModelForCausalLM.from_config(config).eval(), make_prompts(24)
    for parameter in model.parameters():
        parameter.data.mul_(5.0)
    how = {"sampling": PLAIN, "seed": 0, "step": 0, "max_new_tokens": 8, "ends": [EOS], "pad": PAD}
    tokens, mask = generate(model, prompts, **how)
    for i in range(24):
        one = _pick(prompts, torch.tensor([i]))
        one.ids, one.mask = one.ids[:, prompts.mask[i]], one.mask[:, prompts.mask[i]]
        alone, _ = generate(model, one, **how)
        assert torch.equal(alone[0, mask[i]], tokens[i, mask[i]])


def test_the_preference_is_back_after_generating(make_policy, make_prompts, simplex):
    policy, weights = make_policy(), simplex(24)
    with policy.adapter.using(weights):
        _sample(policy, make_prompts(24), weights.flip(0))
        assert policy.adapter.state.rows is weights


def test_filters_combine_like_their_order_says():
    """Top-k first, then the nucleus of what is left, for all pairs on a small distribution."""
    probs = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    for k, p in itertools.product((1, 2, 3), (0.5, 0.8)):
        top = probs[:k] / probs[:k].sum()
        kept = _nucleus(top.tolist(), p)
        tokens = draw(probs.log().expand(2000, -1), Sampling(temperature=1.0, top_p=p, top_k=k), _noise(2000))
        assert set(tokens.tolist()) == kept
