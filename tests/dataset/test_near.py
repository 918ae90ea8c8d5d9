from __future__ import annotations

import random

import pytest

from mora.dataset.near import SIMILAR, Similar, jaccard, shingles


def _runs(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(len(text) - 4)}


def _exact(one: str, other: str) -> float:
    """Jaccard similarity by brute force, on sets of texts."""
    a, b = _runs(one), _runs(other)
    return len(a & b) / len(a | b)


def _words(draw: random.Random, count: int) -> list[str]:
    return ["".join(draw.choices("abcdefghij", k=draw.randint(2, 8))) for _ in range(count)]


def _changed(draw: random.Random, words: list[str], times: int) -> str:
    words = list(words)
    for place in draw.sample(range(len(words)), times):
        words[place] = _words(draw, 1)[0]
    return " ".join(words)


def _texts() -> tuple[list[str], list[str]]:
    """Known texts, and others made of them by changing from none to all of their words."""
    draw = random.Random(0)
    known = [_words(draw, draw.randint(6, 40)) for _ in range(150)]
    asked = [_changed(draw, words, draw.randint(0, max(1, len(words) // 4))) for words in known * 4]
    asked += [" ".join(_words(draw, 20)) for _ in range(100)]
    return [" ".join(words) for words in known], asked


def test_similarity_is_that_of_sets_of_runs():
    known, asked = _texts()
    for one, other in zip(known, asked, strict=False):
        assert jaccard(shingles(one), shingles(other)) == pytest.approx(_exact(one, other), abs=1e-12)


def test_near_texts_are_those_of_brute_force():
    known, asked = _texts()
    truth = [max(_exact(text, other) for other in known) >= SIMILAR for text in asked]
    assert 100 < sum(truth) < len(truth) - 100  # both answers are frequent
    found = Similar(known, lambda numbers: [known[i] for i in numbers]).near(asked)
    missed = sum(true and not hit for true, hit in zip(truth, found.tolist(), strict=True))
    assert not any(hit and not true for true, hit in zip(truth, found.tolist(), strict=True))  # never a false alarm
    assert missed == 0  # of so many, 0.1 are expected to be missed


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("how do i bake a loaf of rye bread at home", "how do i bake a loaf of rye bread at home today", True),
        ("how do i bake a loaf of rye bread at home", "how could i bake a loaf of rye bread at home", False),
        ("what is the capital of france", "what is the capital of germany", False),
        ("how do i bake bread", "why is the sky blue", False),
        ("", "", True),
        ("ab", "ab", True),
        ("ab", "ac", False),
        ("𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🙂 texts count characters", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🙂 texts count characters!", True),
    ],
)
def test_known_pairs(one, other, near):
    assert Similar([one], lambda _: [one]).near([other]).tolist() == [near]


def test_the_answer_does_not_depend_on_what_else_is_asked_and_nothing_is_near_to_nothing():
    known, asked = _texts()
    index = Similar(known, lambda numbers: [known[i] for i in numbers])
    together = index.near(asked[:40]).tolist()
    assert together == [index.near([text]).tolist()[0] for text in asked[:40]]
    assert Similar([], lambda _: []).near(["a text"]).tolist() == [False] and index.near([]).tolist() == []


def test_texts_of_one_form_are_compared_with_a_bounded_number():
    form = "please write a short and friendly poem in the style of a famous author about "
    known = [form + " ".join(_words(random.Random(i), 14)) for i in range(600)]
    read: list[int] = []

    def reread(numbers):
        read.extend(numbers)
        return [known[i] for i in numbers]

    found = Similar(known, reread).near([known[7] + " please", form + "x " * 40])
    assert found.tolist() == [True, False] and len(read) <= 2 * 32
