"""The language, and gold scores worked out by hand.  gain(u) = u (2 - u)."""

from __future__ import annotations

import numpy as np
import pytest

from mora.dataset.worlds import grammar, scores
from mora.errors import InputError

PROMPT = "slugs eat my rose near the cat"
ALL = ("cure", "care", "bloom", "brief")


def test_vocabulary_is_small_and_no_word_has_two_meanings():
    words = grammar.VOCABULARY
    assert len(words) == len(set(words)) == 24 + 24 + 2 + 1 + 4
    assert all(len(word.split()) == 1 for word in words)


def test_every_prompt_is_read_back():
    seen = set()
    for pest, animal, plant in np.ndindex(8, 8, 8):
        text = grammar.write_prompt(pest, animal, plant)
        assert len(text.split()) == 7
        assert grammar.read_prompt(text) == (pest, 8 + animal, 16 + plant)
        seen.add(text)
    assert len(seen) == 512
    assert PROMPT in seen


def test_answer_is_written_and_read_back():
    spray, feed = grammar.VERBS.index("spray"), grammar.VERBS.index("feed")
    slugs, cat = grammar.NOUNS.index("slugs"), grammar.NOUNS.index("cat")
    text = grammar.write_answer([spray, feed, feed], [slugs, cat, slugs], [1, 0])
    assert text == "spray slugs then feed cat , feed slugs ."
    assert grammar.read_answer(text) == ([spray, feed, feed], [slugs, cat, slugs])


@pytest.mark.parametrize(
    ("answer", "cure", "care", "bloom", "brief"),
    [
        # One bold act against the pest: u = 2/8, 0.25 * 1.75.  One clause, on topic: 1/1 * 5/5.
        ("spray slugs .", 0.4375, 0, 0, 1),
        # One mild act: u = 1/8, 0.125 * 1.875.
        ("pick slugs .", 0.234375, 0, 0, 1),
        # One act for the animal: u = 1/4; mild or bold alike.
        ("feed cat .", 0, 0.4375, 0, 1),
        ("cage cat .", 0, 0.4375, 0, 1),
        ("prune rose .", 0, 0, 0.4375, 1),
        # The bold act costs the animal a tenth.  Two clauses: 4/5.
        ("spray slugs , feed cat .", 0.4375, 0.39375, 0, 0.8),
        ("feed cat then spray slugs .", 0.4375, 0.39375, 0, 0.8),
        # So does one against another pest, worth 0.15: u = 0.3/8 = 0.0375, 0.0375 * 1.9625; brief 1.15/2 * 4/5.
        ("spray ants , feed cat .", 0.07359375, 0.39375, 0, 0.46),
        # And one against an animal, worth nothing; brief 1/2 * 4/5.
        ("spray cat , feed cat .", 0, 0.39375, 0, 0.4),
        # Another animal: u = 0.15/4 = 0.0375.
        ("feed dog .", 0, 0.07359375, 0, 0.15),
        # A noun of another family: nothing.
        ("feed slugs .", 0, 0, 0, 0),
        # Said twice, counts once.
        ("feed cat , feed cat .", 0, 0.4375, 0, 0.4),
        # All there is to do: u = 1.
        ("spray slugs , burn slugs , gas slugs , poison slugs .", 1, 0, 0, 0.4),
        ("feed cat , calm cat , guard cat , shelter cat .", 0, 1, 0, 0.4),
        # Four bold acts, then a fifth clause that is not carried out: 0.9; brief 4/5 * 1/5.
        ("spray slugs , burn slugs , gas slugs , poison slugs , feed cat .", 0.9, 0, 0, 0.16),
        # The last two are not carried out: 0.81, and more than five clauses are never brief.
        ("feed cat , calm cat , guard cat , shelter cat , cage cat , spray slugs .", 0, 0.81, 0, 0),
    ],
)
def test_gold_by_hand(world, answer, cure, care, bloom, brief):
    garden = world(*ALL)
    assert garden.valid([PROMPT], [answer]).all()
    np.testing.assert_allclose(garden.gold([PROMPT], [answer]), [[cure, care, bloom, brief]], atol=1e-12)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        ".",
        "spray slugs",
        "spray slugs ,",
        "spray slugs . feed cat .",
        "spray slugs . .",
        "slugs spray .",
        "spray spray .",
        "spray the slugs .",
        "spray slugs and feed cat .",
        "Spray slugs .",
        "spray slugs.",
        "spray slugs , , feed cat .",
        "spray unicorns .",
        "\u2603 \x00",
    ],
)
def test_text_outside_the_grammar_scores_the_floor_on_every_objective(world, answer):
    garden = world(*ALL)
    assert not garden.valid([PROMPT], [answer]).any()
    assert garden.gold([PROMPT], [answer]).tolist() == [list(garden.floor)]


@pytest.mark.parametrize(
    "prompt", ["", "hello", "cat eat my rose near the slugs", PROMPT + " .", "slugs eat my rose near a cat"]
)
def test_a_prompt_outside_the_grammar_scores_the_floor(world, prompt):
    garden = world(*ALL)
    assert not garden.valid([prompt], ["spray slugs ."]).any()
    assert garden.gold([prompt], ["spray slugs ."]).tolist() == [list(garden.floor)]


def test_an_answer_that_was_cut_off_is_none_whatever_it_says_so_far(world):
    """Four tokens are a whole sentence, if the fifth had been the end."""
    garden, answers = world(*ALL), ["spray slugs ."] * 2
    assert garden.valid([PROMPT] * 2, answers, [True, False]).tolist() == [True, False]
    gold = garden.gold([PROMPT] * 2, answers, [True, False])
    assert gold[0].tolist() == garden.gold([PROMPT], answers[:1])[0].tolist() != list(garden.floor)
    assert gold[1].tolist() == list(garden.floor)


def test_a_row_does_not_depend_on_its_batch(world):
    garden = world(*ALL)
    answers = ["", "feed cat .", "spray slugs , feed cat then feed cat , cage cat , feed dog , trap slugs .", "no"]
    together = garden.gold([PROMPT] * 4, answers)
    alone = np.concatenate([garden.gold([PROMPT], [answer]) for answer in answers])
    np.testing.assert_array_equal(together, alone)
    assert garden.gold([], []).shape == (0, 4)


def test_prompts_and_answers_must_match_in_number(world):
    with pytest.raises(ValueError, match="shorter"):
        world("cure").gold([PROMPT], [])


def test_spread_counts_the_bold_clauses_of_the_family(world, settings):
    garden, keys = world(*ALL), settings()
    base, bold = keys["spread_base"], keys["spread_bold"]
    # Against the pest: burn, spray (on whatever).  For the animal: cage.  For the plant: none.  brief: no family.
    spread = garden.spread([PROMPT] * 2, ["burn slugs , spray cat , cage dog , water rose .", "feed"])
    np.testing.assert_allclose(spread, [[base + 2 * bold, base + bold, base, base], [base] * 4])


def test_an_objective_is_one_more_entry(world, monkeypatch):
    lazy = scores.Objective(score=lambda counts: 1 / counts.clauses, family=None)
    monkeypatch.setitem(scores.OBJECTIVES, "lazy", lazy)
    garden = world("cure", "lazy")
    np.testing.assert_allclose(garden.gold([PROMPT] * 2, ["feed cat , feed dog .", "x"]), [[0, 0.5], [0, 0]])


def test_unknown_objective_is_refused(world):
    with pytest.raises(InputError, match="beauty"):
        world("cure", "beauty")
