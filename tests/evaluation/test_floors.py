"""What floors would cost, against the exact optimum, and in whole commands."""

from __future__ import annotations

import numpy as np
import pytest

import mora
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.evaluation.floors import Floors
from mora.files import read_json
from mora.functional.tilting import constrained_optimum

NAMES = ["a", "b", "c"]


def made(**changed) -> Floors:
    given = {"floors": {"c": [0.5]}, "kl_coef": None, "scorer": None, "preferences": None}
    return Floors(**{**given, **changed})


def test_with_an_answer_for_every_response_it_is_the_exact_optimum():
    """Ten equally likely responses to each of four prompts, each of them once: scores in units of their own."""
    scores = np.random.default_rng(1).normal(size=(4, 10, 3)) * [1.0, 2.0, 3.0] + [0.0, 1.0, -1.0]
    mean, std = scores.mean((0, 1)), scores.std((0, 1))
    grid = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    table = made(floors={"c": [-1.0, 0.5, 50.0]}).measure(scores, NAMES, grid, kl_coef=0.3)
    assert [(p["floors"]["c"], p["preference"]) for p in table["points"]] == [
        (floor, w) for floor in (-1.0, 0.5, 50.0) for w in grid.tolist()
    ]
    assert [point["reached"] for point in table["points"]] == [True] * 4 + [False] * 2
    rewards = (scores - mean) / std
    for point in table["points"][:4]:
        floors = np.array([-np.inf, -np.inf, (point["floors"]["c"] - mean[2]) / std[2]])
        best = constrained_optimum(
            np.full((4, 10), -np.log(10)), rewards, rewards @ np.array(point["preference"]), floors=floors, kl_coef=0.3
        )
        assert point["multipliers"]["c"] == pytest.approx(best.multipliers[2], abs=1e-6)
        assert point["expected"] == pytest.approx(best.rewards * std + mean) and point["kl"] == pytest.approx(best.kl)
        assert point["expected"][2] >= point["floors"]["c"] - 1e-6 and 1 < point["effective"] <= 10
    assert table["points"][2]["multipliers"]["c"] > table["points"][0]["multipliers"]["c"] >= 0


def test_a_score_that_never_varies_has_no_unit():
    with pytest.raises(InputError, match="the same score of b"):
        made().measure(
            np.ones((2, 3, 3)) * np.arange(6).reshape(2, 3, 1) * [1, 0, 1], NAMES, np.eye(3)[:2], kl_coef=0.1
        )


def test_a_command_reads_the_answers_of_a_front(chain, capsys, undrawn):
    run = chain[1][-1]
    given = [f"run={run.path}", "evaluation=floors", "evaluation.floors={care: [-5.0, 0.2]}", "evaluation.kl_coef=0.2"]
    given += ["evaluation.scorer=reward"]
    evaluate(mora.compose(*given, command="evaluate"), given)
    table = read_json(run.path / "tables" / "floors.json")
    front = read_json(run.path / "tables" / "front.json")  # other tests may have measured it again
    assert all(table[key] == front[key] for key in ("samples_per_prompt", "prompts")) and len(table["points"]) == 2
    assert table["points"][0]["multipliers"]["care"] == 0  # a floor that all keep costs nothing
    assert (
        f"the optimum under floors, over {table['samples_per_prompt']} answers of the reference policy"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["evaluation.floors={cheer: [0.5]}"], "name some of cure, care"),
        (["evaluation.floors={cure: [0.5], care: [0.1]}"], "leave one without"),
        (["evaluation.floors={care: []}"], "must be a list of floors"),
        (
            ["evaluation.floors={care: [0.1]}", "evaluation.preferences=[[0,1]]"],
            "gives no weight to an objective without",
        ),
    ],
)
def test_floors_without_meaning_are_refused(chain, given, said):
    whole = [f"run={chain[1][-1].path}", "evaluation=floors", "evaluation.kl_coef=0.2", *given]
    with pytest.raises(InputError, match=said):
        evaluate(mora.compose(*whole, command="evaluate"), whole)
