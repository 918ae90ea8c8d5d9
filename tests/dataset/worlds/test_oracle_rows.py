"""Rows, labels and settings of the oracle."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import sqrt

import numpy as np
import pytest

from mora.dataset.worlds.oracle import Oracle
from mora.errors import InputError
from mora.model.tokenizer import train_words
from mora.types import Row

ONE = {"reach": [1.0], "held_out": 0}  # one second word, nothing held out
NAMES = ("r1", "r2", "r3", "r4", "r5", "r6")


@pytest.fixture(scope="module")
def oracle(settings):
    """A corpus of conf/dataset/<name>.yaml with changes; ``small``: that many rows of each kind and split."""

    def make(name, *objectives, seed=0, small=None, **changes):
        few = {} if small is None else {kind: {"train": small, "test": small} for kind in ("supervised", "pairs")}
        return Oracle(**settings(name, **(few | changes))).load(objectives, seed)

    return make


@pytest.fixture(scope="module")
def world(oracle):
    """A world of conf/dataset/<name>.yaml; r1 and r2, or help and safe, unless objectives are named."""

    def make(name, *objectives, **changes):
        known = ("help", "safe") if name == "oracle_constraint" else ("r1", "r2")
        return oracle(name, *(objectives or known), small=1, **changes).world

    return make


@pytest.fixture(scope="module")
def shipped(oracle):
    """The shipped corpus."""
    return oracle("oracle", "r1", "r2")


# --- rows ------------------------------------------------------------------------------------------------------------


def test_sizes_and_prompts(shipped):
    assert {k: len(v) for k, v in shipped.supervised.items()} == {"train": 6000, "test": 500}
    assert {k: len(v) for k, v in shipped.pairs.items()} == {"train": 16_000, "test": 1000}
    asked = {split: [row.prompt for row in rows] for split, rows in shipped.prompts.items()}
    assert asked == {"train": ["a f", "a g", "b e", "b f", "c e", "c g"], "test": ["a e", "b g", "c f"]}
    for kind in (shipped.supervised, shipped.pairs):
        for split, rows in kind.items():
            counts, share = Counter(row.prompt for row in rows), 1 / len(asked[split])
            mean, deviation = len(rows) * share, sqrt(len(rows) * share * (1 - share))
            assert set(counts) == set(asked[split])
            assert all(abs(n - mean) < 4 * deviation for n in counts.values())


@pytest.mark.parametrize(
    ("topics", "reach", "held_out"), [(4, 3, 1), (3, 3, 1), (3, 4, 2), (2, 5, 1), (5, 2, 1), (1, 3, 0), (3, 1, 0)]
)
def test_both_words_of_a_held_out_prompt_are_trained_on_but_not_together(oracle, topics, reach, held_out):
    corpus = oracle("oracle", "r1", "r2", small=20, topics=topics, reach=[1.0] * reach, held_out=held_out)
    train, test = ({tuple(row.prompt.split()) for row in corpus.prompts[split]} for split in ("train", "test"))
    assert len(train | test) == topics * reach and len(test) == topics * held_out and not train & test
    assert [{pair[place] for pair in train} for place in (0, 1)] == [set("abcdefg"[:topics]), set("abcdefg"[-reach:])]
    for kind in (corpus.supervised, corpus.pairs):  # without a held-out prompt: fresh answers to those of training
        assert {tuple(row.prompt.split()) for row in kind["train"]} <= train
        assert {tuple(row.prompt.split()) for row in kind["test"]} <= (test or train)


def test_rows_are_valid_and_fit_the_limits_of_the_closed_tokenizer(shipped):
    tokenizer = train_words(shipped.tokenizer_texts(), closed=True)
    encoder = shipped.encoder(tokenizer)
    assert shipped.tokens == "closed" and len(tokenizer) == 8  # 7 words and the end
    for kind, answers in ((shipped.supervised, 1), (shipped.pairs, 2)):
        for rows in kind.values():
            assert {len(row.responses) for row in rows} == {answers}
            prompts = [row.prompt for row in rows for _ in row.responses]
            texts = [text for row in rows for text in row.responses]
            assert shipped.world.valid(prompts, texts).all()
            assert encoder.admit(rows) == rows
            assert {len(encoder.prompt(prompt)) for prompt in set(prompts)} == {2}
            assert {len(encoder.response(text)) for text in set(texts)} == {2, 3, 4}  # 1 to 3 words and the end
    assert max(len(encoder.response(text)) for text in shipped.world.responses()) == shipped.max_response


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(oracle):
    one, again, other = (oracle("oracle", "r1", "r2", small=50, seed=seed) for seed in (3, 3, 4))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    for kind in ("supervised", "pairs"):
        first, second = getattr(one, kind), getattr(other, kind)
        assert first == getattr(again, kind)
        assert first["train"] != second["train"] and first["test"] != second["test"]
        assert first["train"] != first["test"]


def test_a_shorter_corpus_is_the_beginning_of_a_longer_one(oracle):
    short, long = (oracle("oracle", "r1", "r2", small=count) for count in (40, 100))
    for kind in ("supervised", "pairs"):
        for split in ("train", "test"):
            assert getattr(short, kind)[split] == getattr(long, kind)[split][:40]


def test_all_answers_are_drawn_apart(oracle):
    """Either side of either kind of row in either split: no two lists agree by more than chance.

    The most frequent answer to a prompt is the idle word alone, 1/3 x 1/3 of all, so less than 5 in 200 rows agree in
    the mean.
    """
    corpus = oracle("oracle", "r1", "r2", small=200)
    written = [
        [(row.prompt, row.responses[side]) for row in kind[split]]
        for kind, sides in ((corpus.supervised, 1), (corpus.pairs, 2))
        for split in ("train", "test")
        for side in range(sides)
    ]
    assert len(written) == 6
    for one, other in combinations(written, 2):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 15


def test_one_kind_of_row_does_not_depend_on_the_number_of_the_other(oracle):
    few = oracle("oracle", "r1", "r2", small=40, supervised={"train": 10, "test": 10})
    assert few.pairs == oracle("oracle", "r1", "r2", small=40).pairs


@pytest.mark.parametrize("taste", [0.2, 0.7, 5.0])
def test_authors_have_a_taste_for_families(oracle, taste):
    """K = 3 families of 3, 3 and 1 roles.  Under Dirichlet(c) a word is of either family with probability 1/3, and two
    words of one author are of the same with (c + 1) / (K c + 1).
    """
    corpus = oracle("oracle", "r1", "r2", small=6000, taste=taste)
    rows = corpus.supervised["train"]
    roles = [[(ord(w) + ord(row.prompt[0]) - 2 * ord("a")) % 7 for w in row.responses[0].split()] for row in rows]
    first = Counter(found[0] for found in roles)
    for role in range(7):
        p = 1 / 3 if role == 6 else 1 / 9
        assert abs(first[role] - len(rows) * p) < 4 * sqrt(len(rows) * p * (1 - p)), role
    lengths = Counter(map(len, roles))
    assert all(abs(lengths[n] - len(rows) / 3) < 4 * sqrt(len(rows) * 2 / 9) for n in (1, 2, 3))
    pairs = [found for found in roles if len(found) > 1]
    p = (taste + 1) / (3 * taste + 1)
    same = sum(found[0] // 3 == found[1] // 3 for found in pairs)
    assert abs(same - len(pairs) * p) < 4 * sqrt(len(pairs) * p * (1 - p))


# --- labels ----------------------------------------------------------------------------------------------------------


def test_the_bayes_probability_by_hand(world):
    # Under prompt a: (2/3, 1/3) against (0, 1), slope 8: sigmoid(8 * -2/3) and sigmoid(8 * 2/3).
    row = Row(prompt="a e", responses=("a b d", "d e f"))
    p = 1 / (1 + np.exp(16 / 3))
    np.testing.assert_allclose(world("oracle_flat").bayes_probability(row), [p, 1 - p], atol=1e-7)
    np.testing.assert_allclose(world("oracle_flat", slope=1e-14).bayes_probability(row), [0.5, 0.5], atol=1e-12)
    turned = Row(prompt="d f", responses=("a b d", "d e f"))  # (0, 2/3) against (2/3, 0)
    np.testing.assert_allclose(world("oracle_flat", topics=4).bayes_probability(turned), [1 - p, p], atol=1e-7)


def test_labels_follow_the_bayes_probability(shipped):
    """Standardized by the binomial: over all pairs, and where annotators are unsure or nearly sure."""
    rows = shipped.pairs["train"]
    p = shipped.world.bayes_probabilities(rows)
    labels = np.array([[row.labels[name] for name in shipped.objectives] for row in rows])
    assert set(np.unique(labels)) == {0.0, 1.0}
    residual, variance = labels - p, p * (1 - p)
    for m in range(2):
        for low, high in [(0, 1), (0, 0.05), (0.05, 0.4), (0.4, 0.6), (0.6, 0.95), (0.95, 1)]:
            inside = (p[:, m] >= low) & (p[:, m] <= high)
            assert inside.sum() > 500
            assert abs(residual[inside, m].sum()) < 4 * sqrt(variance[inside, m].sum()), (m, low, high)
    # Given the pair, the two objectives are judged independently.
    together = residual[:, 0] * residual[:, 1]
    assert abs(together.sum()) < 4 * sqrt((variance[:, 0] * variance[:, 1]).sum())


def test_the_bayes_accuracy_is_what_the_best_predictor_gets_right(shipped):
    rows = shipped.pairs["train"]
    guess = shipped.world.bayes_probabilities(rows) > 0.5
    labels = np.array([[row.labels[name] for name in shipped.objectives] for row in rows])
    accuracy = shipped.world.bayes_accuracy(rows)
    assert ((accuracy > 0.6) & (accuracy < 1)).all()
    assert (np.abs((guess == labels).mean(0) - accuracy) < 4 * np.sqrt(accuracy * (1 - accuracy) / len(rows))).all()


def test_annotators_feel_alike(world):
    oracle = world("oracle")
    assert oracle.spread(["a e", "a e"], ["a", "?"]).tolist() == [[0.0, 0.0]] * 2
    gold, spread = oracle.seen(["a e", "a e"], ["a", "?"])
    assert not spread.any() and gold.tolist() == oracle.gold(["a e", "a e"], ["a", "?"]).tolist()


def test_a_row_that_is_no_pair_is_refused(world):
    with pytest.raises(InputError, match="a pair has two responses, this row has 1"):
        world("oracle").bayes_probability(Row(prompt="a e", responses=("a",)))


# --- settings --------------------------------------------------------------------------------------------------------


def test_the_shipped_floors(world):
    assert world("oracle_constraint").floors == {"safe": 0.9}
    assert world("oracle").floors == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": 1}, r"dataset\.words=1: "),
        ({"words": 27}, r"dataset\.words=27: must be from 2 to 26"),
        ({"topics": 0}, r"dataset\.topics=0: "),
        ({"topics": 5}, r"dataset\.topics=5: .* the 3 second words of dataset\.reach .* dataset\.words=7"),
        ({"reach": []}, r"dataset\.reach=\[\]: one number per second word"),
        ({"reach": [1.0] * 5}, r"dataset\.topics=3: .* the 5 second words"),
        ({"reach": [1.0, 0.0]}, r"dataset\.reach\[1\]=0\.0: "),
        ({"reach": [1.5]}, r"dataset\.reach\[0\]=1\.5: "),
        ({"held_out": -1}, r"dataset\.held_out=-1: must be at least 0"),
        ({"held_out": 3}, r"dataset\.held_out=3.*0 and 0 are left"),
        ({"topics": 1}, r"dataset\.held_out=1.*1 and 2 are left"),
        ({"topics": 2, "held_out": 2}, r"dataset\.held_out=2.*2 and 2 are left"),
        ({"scores": "sums"}, r"dataset\.scores=sums: must be counts or constraint"),
        ({"power": 0.0}, r"dataset\.power=0\.0"),
        ({"power": -1.0}, r"dataset\.power=-1\.0"),
        ({"taste": 0.0}, r"dataset\.taste=0\.0"),
        ({"taste": -0.5}, r"dataset\.taste=-0\.5"),
    ],
)
def test_bad_settings_are_refused_with_their_key(settings, changes, message):
    with pytest.raises(InputError, match=message):
        Oracle(**settings("oracle", **changes))


@pytest.mark.parametrize(
    ("name", "objectives", "changes", "message"),
    [
        ("oracle", ("r1", "r7"), {}, "objectives: r7 is not scored by this world; choose among .*'r6'"),
        ("oracle", ("help", "safe"), {}, "objectives: help is not scored"),
        ("oracle_constraint", ("r1", "r2"), {}, "objectives: r1 is not scored by this world; choose among .*'safe'"),
        # Two objectives need two words and an idle one.
        ("oracle", ("r1", "r2"), {"words": 2, "topics": 1, **ONE}, r"dataset\.words=2: r1, r2 need more words"),
        ("oracle", NAMES, {"words": 6}, r"dataset\.words=6: r1, .*, r6 need more words"),
    ],
)
def test_objectives_that_the_world_cannot_score_are_refused(oracle, name, objectives, changes, message):
    with pytest.raises(InputError, match=message):
        oracle(name, *objectives, small=1, **changes)


def test_just_enough_words_are_accepted(world):
    oracle = world("oracle_flat", *NAMES, words=7, topics=1, **ONE)
    assert oracle.best(np.eye(6)).tolist() == np.eye(6).tolist()
    assert world("oracle_flat", words=3, topics=1, **ONE).front().tolist()[-1] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        pytest.param("oracle", {"floors": {"safe": 0.9}}, r"dataset\.floors", id="floor of an unknown objective"),
        pytest.param("oracle", {"floors": {"r3": 0.5}}, r"dataset\.floors", id="floor of an objective left out"),
        pytest.param(
            "oracle_constraint", {"words": 2, "topics": 1, **ONE}, r"dataset\.words=2", id="no mild and no bold word"
        ),
    ],
)
def test_settings_that_leave_an_objective_or_a_floor_without_meaning(world, name, changes, message):
    with pytest.raises(InputError, match=message):
        world(name, **changes)


def test_one_objective_of_two_words_has_no_role(world):
    with pytest.raises(InputError, match=r"dataset\.words=2"):
        world("oracle", "r1", words=2, topics=1, **ONE)


def test_no_text_has_no_score(world, oracle):
    assert world("oracle").gold([], []).shape == (0, 2)
    assert oracle("oracle", "r1", "r2", small=1, pairs={"train": 0, "test": 0}).pairs == {"train": [], "test": []}


def test_of_no_text_none_is_valid(world):
    assert world("oracle").valid([], []).dtype == np.bool_


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_very_small_taste_favors_no_family(oracle):
    rows = oracle("oracle", "r1", "r2", small=3000, taste=0.01).supervised["train"]
    first = Counter((ord(row.responses[0][0]) + ord(row.prompt[0]) - 2 * ord("a")) % 7 // 3 for row in rows)
    assert all(abs(first[family] - 1000) < 4 * sqrt(3000 * 2 / 9) for family in range(3))


def test_a_tokenizer_made_for_few_rows_knows_all_words(oracle):
    corpus = oracle("oracle", "r1", "r2", small=2, words=26)
    words = {word for text in corpus.tokenizer_texts() for word in text.split()}
    assert words == set(corpus.world.vocabulary)
