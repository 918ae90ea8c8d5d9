"""Each rule against answers whose score is known by hand."""

from __future__ import annotations

import math

import pytest

from mora.dataset.rules import text
from mora.errors import InputError


@pytest.mark.parametrize(("words", "score"), [(0, 0.0), (1, 1.0), (10, 1.0), (35, 0.5), (60, 0.0), (500, 0.0)])
def test_brevity_falls_between_two_numbers_of_words(words, score):
    assert text.length("", " ".join(["word"] * words), best=10, worst=60) == score


@pytest.mark.parametrize(("words", "score"), [(0, 0.0), (15, 0.25), (60, 1.0), (90, 1.0)])
def test_length_rises_between_them(words, score):
    assert text.length("", "word\n" * words, best=60, worst=0) == score


def test_a_length_of_one_number_is_refused():
    with pytest.raises(InputError, match="best=3 and worst=3"):
        text.length("", "a", best=3, worst=3)


@pytest.mark.parametrize(
    ("word", "count"),
    [("cat", 1), ("table", 2), ("apple", 2), ("make", 1), ("reading", 2), ("banana", 3), ("the", 1), ("see", 1),
     ("rhythm", 1), ("university", 5)],
)  # fmt: skip
def test_syllables_by_spelling(word, count):
    assert text.syllables(word) == count


def test_reading_ease_is_flesch_s_formula():
    answer = "The cat sat on a mat. A banana is yellow."  # 10 words, 2 sentences, 13 syllables
    assert text.reading_ease("", answer) == pytest.approx((206.835 - 1.015 * 5 - 84.6 * 13 / 10) / 100)
    assert text.reading_ease("", "Go.") == 1.0  # above 100
    assert text.reading_ease("", "Incomprehensibility characterizes institutionalization") == 0.0  # below 0
    assert text.reading_ease("", "12 ?!") == 0.0  # no word


def test_sentiment_is_the_valence_of_the_lexicon():
    good, bad = 1.9, -2.5  # of "good" and "bad" in VADER's lexicon; compound = s / sqrt(s^2 + 15)
    for answer, valence in (("good", good), ("bad", bad), ("table", 0.0)):
        compound = valence / math.sqrt(valence**2 + 15)
        assert text.sentiment("", answer) == pytest.approx((compound + 1) / 2, abs=1e-4)


@pytest.mark.parametrize(
    ("answer", "score"),
    [("Plain text.\nMore - of it, 3.5 in all.", 1.0), ("- a\n* b\n\n1. c\n2) d\n(3) e\nb) f", 0.0), ("Two:\n- a", 0.5),
     ("", 0.0), ("-5 degrees", 1.0)],
)  # fmt: skip
def test_items_of_lists(answer, score):
    assert text.no_lists("", answer) == score


def test_keywords_are_whole_words_in_any_case():
    assert text.keywords("", "BECAUSE of art", words=["because", "therefore", "art"]) == pytest.approx(2 / 3)
    assert text.keywords("", "party", words=["art"]) == 0.0
    assert text.keywords("", "say C++, now", words=["c++", "sa"]) == 0.5  # no expressions of their own
    with pytest.raises(InputError, match="words="):
        text.keywords("", "a", words=[])


@pytest.mark.parametrize(
    ("answer", "score"),
    [("I'm sorry, but no.", 0.0), ("I can't help with that.", 0.0), ("I cannot assist you.", 0.0), ("  ", 0.0),
     ("As an AI language model, I have no taste.", 0.0), ("I will not provide that.", 0.0), ("Sorry is a word.", 1.0),
     ("As an AI, I refuse.", 0.0),
     ("As an AI I cannot tell.", 0.0), ("As an AI enthusiast, you will like it.", 1.0), ("I can help.", 1.0),
     ("It cannot rain inside.", 1.0)],
)  # fmt: skip
def test_refusals(answer, score):
    assert text.no_refusal("", answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [('{"a": [1, null]}', 1.0), (" [] ", 1.0), ("```json\n{}\n```", 1.0), ("```\n[1]\n```", 1.0), ("3", 0.0),
     ('"text"', 0.0), ("{a: 1}", 0.0), ('{"a": 1} and more', 0.0), ("[NaN]", 0.0), ("[" * 5000, 0.0), ("", 0.0)],
)  # fmt: skip
def test_json(answer, score):
    assert text.json("", answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("It is 1,250.", 1.0),
        ("1250", 1.0),
        ("1250.0 in all", 1.0),
        ("1250 or 3", 0.0),
        ("none", 0.0),
        ("-1250", 0.0),
        ("1300-50", 0.0),
        ("5-1250", 1.0),
    ],
)
def test_the_last_number_is_compared_with_the_reference_s(answer, score):
    assert text.number("", answer, reference="First 3, then 5 * 250. #### 1250") == score


def test_a_reference_without_a_number_is_said():
    with pytest.raises(InputError, match="has none"):
        text.number("how many?", "3", reference="many")
