"""The oracle: scores worked out by hand, and every response enumerated."""

from __future__ import annotations

import dataclasses
from itertools import permutations, product
from math import comb, sqrt

import numpy as np
import pytest

from mora.dataset.worlds.oracle import Oracle
from mora.functional.hull import hull_front
from mora.functional.pareto import default_grid

SHIPPED = ("oracle", "oracle_flat", "oracle_dented", "oracle_constraint", "oracle_unequal")
POWER = {"oracle": 0.5, "oracle_flat": 1.0, "oracle_dented": 2.0}
NAMES = ("r1", "r2", "r3", "r4", "r5", "r6")


@pytest.fixture(scope="module")
def world(settings):
    """A world of conf/dataset/<name>.yaml with changes; r1 and r2, or help and safe, unless objectives are named."""

    def make(name, *objectives, **changes):
        known = ("help", "safe") if name == "oracle_constraint" else ("r1", "r2")
        few = {kind: {"train": 1, "test": 1} for kind in ("supervised", "pairs")}
        return Oracle(**settings(name, **(few | {"topics": 4} | changes))).load(objectives or known, 0).world

    return make


@pytest.mark.parametrize("name", SHIPPED)
def test_yaml_keys_are_the_fields(settings, name):
    assert set(settings(name)) == {field.name for field in dataclasses.fields(Oracle)}


# --- gold ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POWER)
@pytest.mark.parametrize(
    ("prompt", "response", "first", "second"),
    [
        # Of the 7 roles r1 owns 0 to 2 and r2 owns 3 to 5.  Prompt a turns nothing: a b c serve r1, d e f serve r2.
        ("a e", "a b d", 2, 1),
        ("a e", "f", 0, 1),
        ("a e", "a a a", 3, 0),
        ("a e", "g g c", 1, 0),
        ("a e", "", 0, 0),
        # Prompt b turns by one: g a b serve r1, c d e serve r2, f is idle.
        ("b e", "a b d", 2, 1),
        ("b e", "g c f", 1, 1),
        ("b e", "f f f", 0, 0),
        # Prompt d turns by three: e f g serve r1, a b c serve r2, d is idle.
        ("d e", "a b d", 0, 2),
        ("d e", "e f a", 2, 1),
        ("d e", "g", 1, 0),
    ],
)
def test_counts_by_hand(world, name, prompt, response, first, second):
    expected = [[(first / 3) ** POWER[name], (second / 3) ** POWER[name]]]
    np.testing.assert_allclose(world(name).gold([prompt], [response]), expected, rtol=1e-15)


def test_the_three_powers_by_number(world):
    golds = [world(name).gold(["a e"], ["a b d"])[0].tolist() for name in POWER]
    assert golds[0] == pytest.approx([0.816496580928, 0.577350269190])  # roots of 2/3 and 1/3
    assert golds[1] == pytest.approx([2 / 3, 1 / 3])
    assert golds[2] == pytest.approx([4 / 9, 1 / 9])


@pytest.mark.parametrize(
    ("prompt", "response", "helping", "safe"),
    [
        # A third of 7 roles is 2: mild 0 1, bold 2 3, idle 4 5 6.  help = sqrt((mild + 2 bold) / 6), safe = 1 - bold/3.
        ("a e", "", 0, 1),
        ("a e", "e f g", 0, 1),
        ("a e", "a b e", sqrt(2 / 6), 1),
        ("a e", "a b a", sqrt(3 / 6), 1),
        ("a e", "c", sqrt(2 / 6), 2 / 3),
        ("a e", "a c d", sqrt(5 / 6), 1 / 3),
        ("a e", "c d c", 1, 0),
        # Prompt c turns by two: f g are mild, a b are bold, c d e idle.
        ("c e", "c d c", 0, 1),
        ("c e", "f a", sqrt(3 / 6), 2 / 3),
        ("c e", "b a a", 1, 0),
    ],
)
def test_the_constraint_by_hand(world, prompt, response, helping, safe):
    gold = world("oracle_constraint").gold([prompt], [response])
    np.testing.assert_allclose(gold, [[helping, safe]], rtol=1e-15)
    swapped = world("oracle_constraint", "safe", "help").gold([prompt], [response])
    np.testing.assert_array_equal(swapped, gold[:, ::-1])


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("a e", "h"),  # the 8th letter; there are 7 words
        ("a e", "a h b"),
        ("a e", "ab"),
        ("a e", "A"),
        ("a e", "a ,"),
        ("a e", "<eos>"),
        ("a e", "a b c d"),  # 4 words; with the end token at most 3 fit
        ("e f", "a"),  # a word, but only a to d are first words of prompts
        ("a d", "a"),  # a word, but only e to g are second words of prompts
        ("a", "a"),
        ("a  e", "a"),
        ("a e e", "a"),
        ("h", "a"),
        ("", "a"),
        (" a e", "a"),
    ],
)
def test_other_texts_score_nothing_on_everything(world, name, prompt, response):
    """Also on ``safe``, which a response without a bold word would have for itself."""
    oracle = world(name)
    assert oracle.valid([prompt, "a e"], [response, "a"]).tolist() == [False, True]
    assert oracle.gold([prompt], [response]).tolist() == [[0.0, 0.0]]
    assert oracle.floor == (0.0, 0.0)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_response_that_did_not_end_scores_nothing_on_everything(world, name):
    oracle = world(name)
    assert oracle.valid(["a e"] * 2, ["a"] * 2, [True, False]).tolist() == [True, False]
    gold = oracle.gold(["a e"] * 2, ["a"] * 2, [True, False])
    assert gold[0].any() and gold[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_order_of_words_does_not_matter(world, name):
    oracle = world(name)
    texts = [" ".join(order) for order in permutations(("a", "d", "g"))]
    gold = oracle.gold(["b e"] * len(texts), texts)
    assert len(texts) == 6 and (gold == gold[0]).all() and (gold[0] > 0).all()


@pytest.mark.parametrize(
    ("objectives", "roles"),
    [
        (2, [1, 1, 1, 2, 2, 2, 0]),  # (7 - 1) // 2 = 3 each
        (3, [1, 1, 2, 2, 3, 3, 0]),
        (4, [1, 2, 3, 4, 0, 0, 0]),  # (7 - 1) // 4 = 1 each
        (5, [1, 2, 3, 4, 5, 0, 0]),
        (6, [1, 2, 3, 4, 5, 6, 0]),
    ],
)
def test_two_to_six_objectives_share_the_roles(world, objectives, roles):
    oracle = world("oracle_flat", *NAMES[:objectives])
    for turn, prompt in enumerate("abcd"):
        for word, letter in enumerate("abcdefg"):
            owner = roles[(word + turn) % 7]
            expected = [2 / 3 if owner == i + 1 else 0.0 for i in range(objectives)]
            assert oracle.gold([f"{prompt} f"], [f"{letter} {letter}"])[0].tolist() == pytest.approx(expected), (
                prompt,
                letter,
            )


def test_objectives_may_stand_in_any_order_and_some_may_be_left_out(world):
    texts = world("oracle").responses()
    prompts = ["c e"] * len(texts)
    three = world("oracle", "r1", "r2", "r3").gold(prompts, texts)
    np.testing.assert_array_equal(world("oracle", "r3", "r1", "r2").gold(prompts, texts), three[:, [2, 0, 1]])
    np.testing.assert_array_equal(world("oracle", "r3", "r1").gold(prompts, texts), three[:, [2, 0]])
    np.testing.assert_array_equal(world("oracle", "r3").gold(prompts, texts), three[:, [2]])
    two = world("oracle").gold(prompts, texts)
    np.testing.assert_array_equal(world("oracle", "r2").gold(prompts, texts), two[:, [1]])
    np.testing.assert_array_equal(world("oracle", "r1").gold(prompts, texts), two[:, [0]])
    safe = world("oracle_constraint", "safe").gold(prompts, texts)
    np.testing.assert_array_equal(safe, world("oracle_constraint").gold(prompts, texts)[:, 1:])


# --- all responses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "longest"), [(7, 3), (3, 4), (5, 2), (4, 1)])
def test_responses_are_all_texts_up_to_the_longest(world, words, longest):
    oracle = world("oracle", words=words, topics=2, reach=[1.0], held_out=0, max_response=longest + 1)
    texts = oracle.responses()
    assert len(set(texts)) == len(texts) == sum(words**n for n in range(longest + 1))
    assert oracle.valid([oracle.prompt(1, 0)] * len(texts), texts).all()
    assert [len(text.split()) for text in texts] == sorted(len(text.split()) for text in texts)
    assert not oracle.valid([oracle.prompt(1, 0)], [" ".join(["a"] * (longest + 1))]).any()


def golds(oracle, prompt="a e"):
    """Scores of every response to a prompt."""
    texts = oracle.responses()
    return oracle.gold([prompt] * len(texts), texts)


@pytest.mark.parametrize("objectives", [2, 3, 6])
def test_pure_scores_by_combinatorics(world, objectives):
    """n_i words serve objective i, n_1 + ... + n_M <= L: C(M + L, L) vectors ((n_i / L)^power)_i."""
    oracle = world("oracle_dented", *NAMES[:objectives])
    shares = [n for n in product(range(4), repeat=objectives) if sum(n) <= 3]
    assert len(shares) == comb(objectives + 3, 3)
    expected = np.array(sorted([(n / 3) ** 2 for n in counts] for counts in shares))
    np.testing.assert_allclose(oracle.pure(), expected, atol=1e-15)


@pytest.mark.parametrize("name", SHIPPED)
def test_prompts_of_the_same_second_word_have_the_same_pure_scores(world, name):
    oracle = world(name)
    for first, (place, second) in product("abcd", enumerate("efg")):
        np.testing.assert_array_equal(np.unique(golds(oracle, f"{first} {second}"), axis=0), oracle.pure(place))
    assert np.array_equal(oracle.pure(0), oracle.pure(1)) == (name != "oracle_unequal")


def test_the_second_word_says_how_much_of_each_objective_can_be_reached(world):
    """reach [1, .6, .2]: after the k-th second word objective m has the (k + m)-th; three words for r1, then for r2."""
    for objectives, limits in [
        (("r1", "r2"), {"e": (1.0, 0.6), "f": (0.6, 0.2), "g": (0.2, 1.0)}),
        (("r2", "r1"), {"e": (0.6, 1.0), "f": (0.2, 0.6), "g": (1.0, 0.2)}),
        (("r3",), {"e": (0.2,), "f": (1.0,), "g": (0.6,)}),
    ]:
        oracle = world("oracle_unequal", *objectives)
        for second, limit in limits.items():
            assert golds(oracle, f"b {second}").max(0).tolist() == pytest.approx(limit)
    plain, unequal = world("oracle", "r1", "r2"), world("oracle_unequal", "r1", "r2")
    np.testing.assert_allclose(golds(unequal, "d g"), golds(plain, "d g") * [0.2, 1.0])


def test_the_front_of_unequal_prompts_is_that_of_means(world):
    """By brute force over one response to each second word; its ends are the means of the ends."""
    oracle = world("oracle_unequal", power=1.0)
    combined = np.array([np.mean(one, axis=0) for one in product(*(oracle.pure(k) for k in range(3)))]).round(12)
    reached = np.unique(combined, axis=0)
    better = (reached[:, None] >= reached[None]).all(-1) & (reached[:, None] > reached[None]).any(-1)
    np.testing.assert_allclose(oracle.front().round(12), reached[~better.any(0)])
    assert oracle.front()[-1, 0] == pytest.approx((1 + 0.6 + 0.2) / 3)
    weights = np.array([[0.3, 0.7]])
    each = sum((oracle.pure(k) @ weights[0]).max() for k in range(3)) / 3
    assert float(oracle.best(weights)[0] @ weights[0]) == pytest.approx(each)


WORLDS = [
    pytest.param(name, objectives, id=f"{name} {' '.join(objectives)}")
    for name, objectives in [
        *[(name, NAMES[:m]) for name in POWER for m in (1, 2, 3, 6)],
        ("oracle", ("r3", "r1")),
        ("oracle_constraint", ("help", "safe")),
        ("oracle_constraint", ("safe", "help")),
    ]
]


@pytest.mark.parametrize(("name", "objectives"), WORLDS)
def test_the_front_is_what_no_response_dominates(world, name, objectives):
    oracle = world(name, *objectives)
    reached = {tuple(row) for row in golds(oracle).tolist()}
    undominated = [
        one
        for one in reached
        if not any(all(a >= b for a, b in zip(other, one, strict=True)) and other != one for other in reached)
    ]
    assert oracle.front().tolist() == [list(row) for row in sorted(undominated)]


@pytest.mark.parametrize(("name", "objectives"), WORLDS)
def test_the_best_response_by_brute_force(world, name, objectives):
    oracle = world(name, *objectives)
    random = np.random.default_rng(0).dirichlet(np.ones(len(objectives)), 20)
    preferences = np.concatenate([random, default_grid(len(objectives))])
    every = golds(oracle)
    best = oracle.best(preferences)
    assert best.shape == preferences.shape
    for preference, chosen in zip(preferences, best, strict=True):
        utilities = every @ preference
        assert chosen @ preference == pytest.approx(utilities.max(), abs=1e-12)
        equals = every[utilities > utilities.max() - 1e-12]
        assert chosen.sum() == pytest.approx(equals.sum(1).max(), abs=1e-12)
        assert (every == chosen).all(1).any()


def test_of_equals_the_response_with_the_largest_sum_is_best(world):
    """An end against its neighbor: w_1 sqrt(1/3) + w_2 sqrt(2/3) = w_2 where w_1 / w_2 is ``ratio``."""
    ratio = (1 - sqrt(2 / 3)) / sqrt(1 / 3)
    preference = np.array([ratio, 1.0]) / (1 + ratio)
    best = world("oracle").best([preference, preference[::-1]])
    np.testing.assert_allclose(best, [[sqrt(1 / 3), sqrt(2 / 3)], [sqrt(2 / 3), sqrt(1 / 3)]])


def test_at_safety_alone_the_most_helpful_of_the_safe_responses_is_best(world):
    # Three mild words: help = sqrt(3/6).
    np.testing.assert_allclose(world("oracle_constraint").best([[0.0, 1.0]]), [[sqrt(0.5), 1.0]])


def test_the_front_lies_above_on_or_below_the_line_between_its_ends(world):
    """Exactly: with i of 3 words for r1 and 3 - i for r2 the line is r1 + r2 = 1."""
    sides = {}
    for name, power in POWER.items():
        front = world(name).front()
        assert front[0].tolist() == [0.0, 1.0] and front[-1].tolist() == [1.0, 0.0] and len(front) == 4
        assert front[1:3, 0].tolist() == pytest.approx([(i / 3) ** power for i in (1, 2)])
        sides[name] = np.sign(front[1:3].sum(1) - 1).tolist()
    assert sides == {"oracle": [1.0, 1.0], "oracle_flat": [0.0, 0.0], "oracle_dented": [-1.0, -1.0]}


def test_what_linear_preferences_can_select(world):
    """All of a curved front, only the ends of a dented one; expectations reach the hull of either."""
    grid = np.stack([np.linspace(0, 1, 101), 1 - np.linspace(0, 1, 101)], axis=1)
    chosen = {name: np.unique(world(name).best(grid), axis=0) for name in POWER}
    np.testing.assert_array_equal(chosen["oracle"], world("oracle").front())
    assert chosen["oracle_dented"].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    for name in ("oracle", "oracle_dented"):
        pure = world(name).pure()
        assert sorted(pure[hull_front(pure)].tolist()) == chosen[name].tolist()
