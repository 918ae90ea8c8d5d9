"""The exact front against every answer of a part of the language, written out and scored as text."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from mora.dataset.worlds import grammar

PROMPTS = ["slugs eat my rose near the cat", "ants eat my bean near the toad", "weevils eat my vine near the cat"]


def every_answer(prompt, clauses):
    """Each answer of at most four of these clauses, in every order, and some of five."""
    pest, _, _, plant, _, _, animal = prompt.split()
    wrong = "moths" if pest != "moths" else "ants"
    clauses = [clause.format(pest=pest, plant=plant, animal=animal, wrong=wrong) for clause in clauses]
    for count in range(1, 5):
        for chosen in product(clauses, repeat=count):
            yield " , ".join(chosen) + " ."
    yield from (" , ".join((*chosen, clauses[0])) + " ." for chosen in product(clauses[::2], repeat=4))


BOLD = [f"{verb} {{pest}}" for verb in ("burn", "gas", "poison", "spray")]
MILD = [f"{verb} {{pest}}" for verb in ("brush", "pick", "rinse", "trap")]
CARE = [f"{verb} {{animal}}" for verb in ("feed", "calm", "cage", "move")]
TEND = [f"{verb} {{plant}}" for verb in ("water", "mulch", "prune", "split")]
ASTRAY = ["gas {wrong}"]


def dominated(vectors):
    """Which rows some other row dominates, one by one."""
    return [any((v >= u).all() and (v > u).any() for v in vectors) for u in vectors]


@pytest.mark.parametrize(
    ("objectives", "clauses", "prompts"),
    [
        (("cure", "care"), BOLD + MILD[:3] + CARE + ASTRAY, PROMPTS),
        (("cure", "care", "bloom"), BOLD + MILD[:1] + CARE + TEND, PROMPTS[1:2]),
        (("cure", "brief"), BOLD + MILD[:2] + CARE[:1], PROMPTS[:1]),
    ],
)
def test_front_equals_brute_force(world, objectives, clauses, prompts):
    garden = world(*objectives)
    for prompt in prompts:
        answers = list(every_answer(prompt, clauses))
        gold = garden.gold([prompt] * len(answers), answers)
        vectors = np.unique(gold.round(9), axis=0)
        expected = vectors[~np.array(dominated(vectors))]
        np.testing.assert_allclose(garden.front(), expected, atol=1e-8)
        preferences = np.random.default_rng(0).dirichlet(np.ones(len(objectives)), 20)
        gains = (garden.best(preferences) * preferences).sum(1)
        np.testing.assert_allclose(gains, (gold @ preferences.T).max(0), atol=1e-12)


def test_front_by_hand(world):
    # (bold, mild, animal) acts, all useful.  gain(1/8 .. 8/8) = .234 .4375 .609 .75 .859 .9375 .984 1, of which every
    # second one is gain(1/4 .. 4/4); a bold act costs the animal a tenth.
    gain = [u * (2 - u) for u in np.arange(9) / 8]
    mixes = [(0, 0, 4), (0, 1, 3), (1, 0, 3), (1, 1, 2), (2, 0, 2), (2, 1, 1), (3, 0, 1), (4, 0, 0)]
    expected = [[gain[2 * b + m], gain[2 * a] * (1 - 0.1 * b)] for b, m, a in mixes]
    np.testing.assert_allclose(world("cure", "care").front(), expected, atol=1e-9)


def test_eleven_preferences_see_a_curved_front(world):
    garden = world("cure", "care")
    weights = np.linspace(0, 1, 11)
    best = garden.best(np.stack([weights, 1 - weights], axis=1))
    assert len(np.unique(best, axis=0)) >= 5
    assert (np.diff(best[:, 0]) >= 0).all() and (np.diff(best[:, 1]) <= 0).all()
    # Both ends are whole, and a tie at an end goes to the better all-rounder.
    assert best[0].tolist() == [0, 1] and best[-1].tolist() == [1, 0]


def test_many_answers_are_best_in_the_middle(world):
    garden, prompt = world("cure", "care"), PROMPTS[0]
    answers = list(every_answer(prompt, BOLD + CARE))
    gains = garden.gold([prompt] * len(answers), answers).mean(1)
    best = garden.best([[0.5, 0.5]]).mean()
    # Two of four bold acts, two of four for the animal, in any order: 6 * 6 * 24, before the words that join them.
    assert Counter(np.isclose(gains, best))[True] == 6 * 6 * 24


def test_front_is_the_same_for_all_prompts(load, world):
    garden = world("cure", "care", "bloom", "brief")
    prompts = [row.prompt for row in load("cure", "care", small=1).prompts["test"]]
    shapes = ["spray {0} , feed {1} then prune {2} .", "gas {0} , feed {0} , rinse {0} .", "move {2} , feed {1} ."]
    for shape in shapes:
        answers = [shape.format(p.split()[0], p.split()[6], p.split()[3]) for p in prompts]
        assert len(np.unique(garden.gold(prompts, answers), axis=0)) == 1
    assert len(prompts) == grammar.SIZE**2
