"""Identities of samples and groups, and answers to several preferences that share their random numbers."""

from __future__ import annotations

import pytest
import torch
from tests.adapters import svd_lora

from mora.dataset.encode import Encoder
from mora.functional.preference import Sampler
from mora.model.generate import Sampling
from mora.model.load import ModelSpec
from mora.model.policy import Policy
from mora.runtime.sampling import answer, sample_reference, sample_rows
from mora.settings.compose import compose
from mora.settings.identity import plain
from mora.types import Row

CPU = torch.device("cpu")
WORDS = "a b c d e f g h"
FRONT = [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]


@pytest.fixture(scope="module")
def make():
    """Encoder and policy with a fresh adapter: nearly uniform over 8 words and the end, answers of at most 10 tokens.

    ``moved``: the adapter is not at its start, so preferences matter.
    """
    keys = plain(compose("train", ["model=micro"]).model)
    del keys["_target_"]
    spec = ModelSpec(**keys)

    def build(moved: bool = False) -> tuple[Encoder, Policy]:
        tokenizer = spec.tokenizer([WORDS], tokens="closed")
        settings = svd_lora(rank=3, head=True)
        model = spec.build(tokenizer, seed=0)
        policy = Policy(model, settings.attach(model, ["r1", "r2"], seed=0), None).eval()
        if moved:
            for value in policy.adapter.singular_values():
                value.data.add_(3.0)
        return Encoder(tokenizer, 4, 10, "error"), policy

    return build


@pytest.fixture(scope="module")
def encoder(make):
    return make()[0]


def rows_of(*prompts):
    return [Row(prompt=prompt) for prompt in prompts]


FOUR = rows_of("a", "b c", "d e f", "g")
SIXTEEN = [FOUR[i] for i in (0, 1, 2, 3, 3, 2, 1, 0, 0, 0, 0, 0, 1, 2, 3, 1)]  # in no order


# --- identities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_sixteen_rows_over_four_prompts_are_all_different(encoder, samples):
    prompts, groups = sample_rows(SIXTEEN, samples, encoder, CPU)
    assert prompts.texts == [row.prompt for row in SIXTEEN for _ in range(samples)]
    assert len(prompts.row_ids.unique()) == 16 * samples
    by_row = groups.view(16, samples)
    assert torch.equal(by_row, by_row[:, :1].expand(-1, samples))  # samples of one row are a group
    assert len(by_row[:, 0].unique()) == 16  # and two rows are two groups, of whatever prompt


@pytest.mark.parametrize("unit", ["row", "group"])
def test_a_prompt_that_stands_twice_gets_other_preferences(encoder, unit):
    prompts, groups = sample_rows(SIXTEEN, 2, encoder, CPU)
    sampler = Sampler(unit=unit, vertex_probability=0.0, concentration=1.0)
    drawn = sampler(prompts.row_ids, groups, groups, 3, seed=0, step=0)
    assert len(drawn.unique(dim=0)) == (32 if unit == "row" else 16)
    within = drawn.view(16, 2, 3)
    assert torch.equal(within[:, 0], within[:, 1]) == (unit == "group")


def test_a_prompt_that_stands_twice_gets_other_samples(make):
    encoder, policy = make()
    prompts, _ = sample_rows([FOUR[0], FOUR[1], FOUR[0]], 2, encoder, CPU)
    one = torch.tensor(FRONT[1]).expand(6, -1)
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    settings = {
        "sampling": sampling,
        "seed": 0,
        "step": 0,
        "max_new_tokens": 10,
        "ends": encoder.ends,
        "pad": encoder.pad,
    }
    tokens, _ = policy.generate(prompts, one, **settings)
    again, _ = policy.generate(prompts, one, **settings)
    assert len(tokens.unique(dim=0)) == 6 and torch.equal(tokens, again)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    "keep",
    [slice(0, 8), slice(8, 16), slice(5, 6), slice(3, None, 2), slice(None, None, -1), slice(0, 0)],
    ids=["first half", "second half", "one", "every second", "backwards", "none"],
)
def test_a_process_gives_its_rows_the_ids_of_the_whole(encoder, samples, keep):
    whole, groups = sample_rows(SIXTEEN, samples, encoder, CPU)
    places = list(range(16 * samples))[keep]
    part, own = sample_rows(SIXTEEN, samples, encoder, CPU, places)
    assert torch.equal(part.row_ids, whole.row_ids[places]) and torch.equal(own, groups[places])
    assert part.texts == [whole.texts[i] for i in places]
    for ids, mask, place in zip(part.ids, part.mask, places, strict=True):
        assert torch.equal(ids[mask], whole.ids[place][whole.mask[place]])


def test_a_prompt_that_stands_once_keeps_its_ids_whatever_else_is_there(encoder):
    alone, group = sample_rows([FOUR[2]], 3, encoder, CPU)
    for rows in (FOUR, FOUR[::-1], [FOUR[0], FOUR[0], FOUR[2], FOUR[0]], [*FOUR[:2], *FOUR[:2], *FOUR[1:]]):
        place = 3 * [row.prompt for row in rows].index(FOUR[2].prompt)
        prompts, groups = sample_rows(rows, 3, encoder, CPU)
        assert torch.equal(prompts.row_ids[place : place + 3], alone.row_ids)
        assert torch.equal(groups[place : place + 3], group)


def test_the_first_samples_are_the_same_however_many_there_are(encoder):
    few, _ = sample_rows(FOUR, 2, encoder, CPU)
    many, _ = sample_rows(FOUR, 5, encoder, CPU)
    assert torch.equal(many.row_ids.view(4, 5)[:, :2], few.row_ids.view(4, 2))


def test_answers_of_a_row_do_not_enter_its_identity(encoder):
    plain, groups = sample_rows(FOUR, 2, encoder, CPU)
    answered, own = sample_rows([Row(prompt=row.prompt, responses=("a",)) for row in FOUR], 2, encoder, CPU)
    assert torch.equal(answered.row_ids, plain.row_ids) and torch.equal(own, groups)


# --- answers ---------------------------------------------------------------------------------------------------------


def answers(made, prompts, preferences, *, samples=3, temperature=1.0, seed=0, longest=None):
    encoder, policy = made
    return answer(
        policy,
        encoder,
        prompts,
        preferences,
        samples=samples,
        temperature=temperature,
        max_new_tokens=longest,
        seed=seed,
    )


@pytest.fixture(scope="module")
def at_start(make):
    return make()


@pytest.fixture(scope="module")
def moved(make):
    return make(moved=True)


def test_all_preferences_share_their_random_numbers(at_start, moved):
    """At the adapter's start preferences do not matter, so all texts are the same; later they do."""
    found = answers(at_start, ["a", "b c"], FRONT)
    assert [[len(samples) for samples in by_preference] for by_preference in found] == [[3] * 3] * 2
    for by_preference in found:
        assert by_preference[0] == by_preference[1] == by_preference[2]
        assert len(set(by_preference[0])) == 3  # samples of a prompt differ
    assert found[0] != found[1]
    for by_preference in answers(moved, ["a", "b c"], FRONT):
        assert by_preference[0] != by_preference[1] != by_preference[2] != by_preference[0]


def test_each_text_stands_at_its_prompt_preference_and_sample(moved):
    """Neither other prompts nor other preferences change an answer, in whatever order they are asked for."""
    found = answers(moved, ["a", "b c", "d e f"], FRONT)
    for x, prompt in enumerate(["a", "b c", "d e f"]):
        for p, preference in enumerate(FRONT):
            assert answers(moved, [prompt], [preference]) == [[found[x][p]]]
    turned = answers(moved, ["d e f", "a"], [FRONT[2], FRONT[0]])
    assert turned == [[found[2][2], found[2][0]], [found[0][2], found[0][0]]]
    assert [by[1][:2] for by in answers(moved, ["a", "b c", "d e f"], FRONT, samples=5)] == [by[1][:2] for by in found]


def test_a_prompt_asked_twice_is_answered_twice(at_start):
    first, second = answers(at_start, ["a", "a"], FRONT)
    assert not {*first[0]} & {*second[0]} and second[0] == second[1]


def test_the_seed_the_temperature_and_the_length_of_answers(moved):
    assert answers(moved, ["a"], FRONT, seed=1) != answers(moved, ["a"], FRONT)
    ((greedy, *_),) = answers(moved, ["a"], FRONT, temperature=0.0)
    assert len(set(greedy)) == 1
    lengths = {
        n: [len(t.split()) for by in answers(moved, ["a", "g"], FRONT, longest=n)[0] for t, _ in by] for n in (2, 10)
    }
    assert max(lengths[2]) == 2 and max(lengths[10]) > 2
    assert answers(moved, ["a"], FRONT, longest=10) == answers(moved, ["a"], FRONT)  # null: the longest of the data


def test_reference_answers_do_not_depend_on_the_batch_size(make):
    encoder, policy = make()
    sizes = (64, 8, 4, 1)
    with policy.adapter.off():
        found = [
            sample_reference(policy.model, encoder, FOUR, samples=4, seed=0, batch_size=size, device=CPU)
            for size in sizes
        ]
    assert found[0].prompts == [row.prompt for row in FOUR for _ in range(4)]
    assert all(len(set(found[0].texts[i : i + 4])) == 4 for i in range(0, 16, 4))
    for other in found[1:]:
        assert other.texts == found[0].texts and torch.equal(other.mask, found[0].mask)
