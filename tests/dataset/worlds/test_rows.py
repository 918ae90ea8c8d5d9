"""The corpus of the garden: splits, authors, pairs, labels, seeds."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from mora.dataset.worlds import grammar, writers
from mora.dataset.worlds.garden import Garden
from mora.errors import InputError


def sides(rows):
    """Prompts and all answers of some rows, flat."""
    return [r.prompt for r in rows for _ in r.responses], [y for r in rows for y in r.responses]


def test_yaml_keys_are_the_fields(settings):
    fields = {field.name for field in dataclasses.fields(Garden)}
    assert set(settings("garden")) == set(settings("garden3")) == fields


def test_sizes_and_held_out_prompts(corpus):
    assert {k: len(v) for k, v in corpus.supervised.items()} == {"train": 20_000, "test": 1000}
    assert {k: len(v) for k, v in corpus.pairs.items()} == {"train": 64_000, "test": 2000}
    prompts = {split: {row.prompt for row in rows} for split, rows in corpus.prompts.items()}
    assert {k: len(v) for k, v in prompts.items()} == {"train": 448, "test": 64}
    assert not prompts["train"] & prompts["test"]
    for kind in (corpus.supervised, corpus.pairs):
        for split, rows in kind.items():
            assert {row.prompt for row in rows} == prompts[split]


def test_every_word_of_a_held_out_prompt_is_trained_on(corpus):
    trained = {
        word for row in corpus.supervised["train"] for text in (row.prompt, *row.responses) for word in text.split()
    }
    assert trained == set(grammar.VOCABULARY)


def test_texts_fit_the_limits(corpus):
    prompts, answers = sides([r for kind in (corpus.supervised, corpus.pairs) for rows in kind.values() for r in rows])
    assert {len(prompt.split()) for prompt in prompts} == {7}
    assert max(len(answer.split()) for answer in answers) == corpus.max_response - 1 == 3 * grammar.LONGEST
    assert min(len(answer.split()) for answer in answers) >= 1
    assert all(text == " ".join(text.split()) for text in answers)


def test_authors_are_valid_diverse_and_need_the_prompt(corpus):
    prompts, answers = sides(corpus.supervised["train"])
    world = corpus.world
    gold = world.gold(prompts, answers)
    assert world.valid(prompts, answers).all()
    assert ((gold >= 0) & (gold <= 1)).all()
    mean = gold.mean(0)
    assert (mean > 0.28).all() and (mean < 0.42).all()
    assert len(set(answers)) > 0.9 * len(answers)
    order = np.random.default_rng(0).permutation(len(answers))
    shuffled = world.gold(prompts, [answers[i] for i in order]).mean(0)
    assert (shuffled < 0.5 * mean).all()
    assert len(np.unique(gold[:, 0].round(6))) > 40  # a ladder of scores, not two or three


def test_no_author_says_a_clause_twice(corpus):
    for row in corpus.supervised["train"][:3000]:
        verbs, nouns = grammar.read_answer(row.responses[0])
        clauses = list(zip(verbs, nouns, strict=True))
        assert len(set(clauses)) == len(clauses)


def test_skill_is_the_share_of_clauses_that_name_the_right_thing(load):
    hits, total = 0, 0
    for row in load("cure", "care", small=2000, skill=[0.7, 0.7]).supervised["train"]:
        topics = grammar.read_prompt(row.prompt)
        verbs, nouns = grammar.read_answer(row.responses[0])
        hits += sum(topics[v // 8] == n for v, n in zip(verbs, nouns, strict=True))
        total += len(verbs)
    assert hits / total == pytest.approx(0.7, abs=0.03)  # about 7,000 clauses: standard error 0.006


def test_idle_and_length_shares(load):
    rows = load("cure", "care", small=2000, idle=0.2, lengths=[0, 0, 1, 0, 0]).supervised["train"]
    verbs = [verb for row in rows for verb in grammar.read_answer(row.responses[0])[0]]
    assert len(verbs) == 3 * 2000
    assert np.mean(np.array(verbs) // 8 == grammar.PLANT) == pytest.approx(0.2, abs=0.03)
    # With an objective for each family there is nothing idle: a third each.
    rows = load("cure", "care", "bloom", small=2000, idle=0.2).supervised["train"]
    verbs = [verb for row in rows for verb in grammar.read_answer(row.responses[0])[0]]
    assert np.bincount(np.array(verbs) // 8) / len(verbs) == pytest.approx([1 / 3] * 3, abs=0.03)


def test_pairs_range_from_nonsense_to_the_front(corpus):
    rows = corpus.pairs["train"]
    assert all(len(set(row.responses)) == 2 for row in rows)
    prompts, answers = sides(rows)
    world = corpus.world
    # One answer of a pair is damaged in 20 % of the pairs.
    assert world.valid(prompts, answers).mean() == pytest.approx(0.9, abs=0.01)
    gold = world.gold(prompts, answers)
    for preference in ([1, 0], [0.5, 0.5], [0, 1]):
        near = gold @ preference > (world.best([preference]) @ preference) - 0.05
        assert near.mean() > 0.02


def test_labels_follow_the_true_probability(corpus):
    rows = corpus.pairs["train"]
    labels = np.array([[row.labels[name] for name in corpus.objectives] for row in rows])
    assert set(np.unique(labels)) == {0.0, 1.0}
    probability = corpus.world.bayes_probabilities(rows)
    assert labels.mean(0) == pytest.approx(probability.mean(0), abs=0.012)
    for low, high in pairwise(np.linspace(0, 1, 6)):
        inside = (probability >= low) & (probability <= high)
        # At least 1,200 labels in a bin: standard error at most 0.0145.
        assert inside.sum() > 1200
        assert labels[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.04)
    bayes = corpus.world.bayes_accuracy(rows)
    assert ((bayes > 0.8) & (bayes < 0.9)).all()


def test_some_pairs_differ_in_one_clause(load):
    corpus = load("cure", "care", small=500, edited=1.0, damaged=0.0)
    for row in corpus.pairs["train"]:
        first, second = (list(zip(*grammar.read_answer(y), strict=True)) for y in row.responses)
        assert sum(a != b for a, b in zip(first, second, strict=True)) == 1


def test_damage_always_leaves_the_language():
    for answer in ("feed cat .", "spray slugs , feed cat then cage cat .", "pick ants , pick slugs ."):
        for kind in np.arange(0.01, 1, 0.05):
            for place in np.arange(0.0, 1, 0.03):
                damaged = writers.damage(answer, kind, place)
                assert damaged and grammar.read_answer(damaged) is None
                assert len(damaged.split()) <= len(answer.split())


def test_rows_depend_on_the_seed_and_their_place_only(load):
    short, long = load("cure", "care", small=50), load("cure", "care", small=120)
    for kind in ("supervised", "pairs"):
        for split in ("train", "test"):
            assert getattr(short, kind)[split] == getattr(long, kind)[split][:50]
    assert load("cure", "care", small=50).fingerprint == short.fingerprint
    other = load("cure", "care", small=50, seed=1)
    assert other.fingerprint != short.fingerprint
    assert other.supervised["train"][:3] != short.supervised["train"][:3]
    assert other.prompts == short.prompts  # the held-out prompts are the same for every seed


def test_parts_of_the_corpus_do_not_share_their_draws(load):
    corpus = load("cure", "care", small=50)
    texts = [
        [row.responses[0] for row in kind[split]]
        for kind in (corpus.supervised, corpus.pairs)
        for split in ("train", "test")
    ]
    assert all(len(set(a) & set(b)) < 10 for a, b in pairwise([*texts, texts[0]]))


def test_three_objectives_and_one_without_a_family(load):
    corpus = load("cure", "care", "bloom", small=300)
    assert set(corpus.pairs["train"][0].labels) == {"cure", "care", "bloom"}
    assert corpus.world.floor == (0.0, 0.0, 0.0)
    assert load("brief", small=300).world.bayes_accuracy(corpus.pairs["train"]).shape == (1,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"held_out": 8}, "held_out=8"),
        ({"lengths": [0.5, 0.5]}, "5 probabilities"),
        ({"lengths": [0.5, 0.5, 0.5, 0, 0]}, "sum to 1"),
        ({"edited": 1.5}, "edited=1.5"),
        ({"skill": [0.3, 2.0]}, r"skill\[1\]=2.0"),
    ],
)
def test_bad_settings_are_refused(load, change, words):
    with pytest.raises(InputError, match=words):
        load("cure", small=1, **change)
