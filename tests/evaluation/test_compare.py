"""Comparisons computed from answers whose scores are written into their texts: every number has a second way to it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from mora.errors import InputError
from mora.evaluation.compare import Compare
from mora.evaluation.compare_tables import write_tables
from mora.evaluation.judged import Answers, Columns, Judged, Unit, cells, judge_answers, read_answers
from mora.evaluation.methods import Method
from mora.evaluation.pairing import Origin
from mora.evaluation.study import NEW_SEEDS, THESE_POLICIES
from mora.files import read_json, read_lines, write_json, write_lines
from mora.functional.bootstrap import difference_interval, interval
from mora.functional.mixing import at_kl_budget
from mora.functional.pareto import hypervolume
from mora.functional.stats import holm
from mora.functional.steering import inner_product
from mora.functional.tilting import linear_optimum

GRID = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
X, N = 12, 4
SETTINGS: dict[str, Any] = {
    "preferences": GRID.tolist(),
    "prompts": X,
    "samples": N,
    "batch_size": 8,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "resamples": 100,
    "level": 0.95,
    "judge": None,
    "margin": 0.1,
    "kl_budget": None,
    "kl_errors_below": 2.0,
    "kl_effective": 3.0,
    "kl_steps": 2,
    "sweep_reach": 1.0,
    "sweep_steps": 4,
    "shown_prompts": 2,
}

FEW: dict[str, Any] = {"kl_steps": 1, "sweep_steps": 1}  # where neither budgets nor reference points are looked at


def judge(prompts: Sequence[str], responses: Sequence[str], sampled: Any = None) -> np.ndarray:
    """An answer is its two scores; the prompt must be the one that it was given to."""
    assert all(response.split()[0] == prompt for prompt, response in zip(prompts, responses, strict=True))
    return np.array([[float(value) for value in response.split()[1:]] for response in responses])


def answers(gain: float, *, seed: int = 0, kl: float = 2.0, steered: bool = True, noise: float = 0.1) -> Answers:
    """A policy whose scores rise by ``gain`` times the weight; prompts differ, and share their noise between runs."""
    generator, shared = np.random.default_rng([seed, 1]), np.random.default_rng(0)
    level = 5.0 + 0.5 * shared.normal(size=(1, X, 1, 2)) + np.array([0.0, 10.0])
    own = noise * generator.normal(size=(1 + len(GRID), X, N, 2))
    lift = np.concatenate([np.zeros((1, 2)), gain * GRID])[:, None, None, :]
    scores = level + (own if steered else own[:1]) + (lift if steered else 0 * lift)
    prompts = tuple(f"p{x}" for x in range(X))
    texts = np.empty(scores.shape[:-1], dtype=object)
    for place in np.ndindex(*texts.shape):
        texts[place] = f"{prompts[place[1]]} {scores[place][0]!r} {scores[place][1]!r}".replace(
            "np.float64(", ""
        ).replace(")", "")
    spent = (
        np.zeros(texts.shape) if not steered else np.where(np.arange(4)[:, None, None] == 0, 0.0, kl + 0 * own[..., 0])
    )
    return Answers(
        run=f"run-{gain}-{seed}",
        steered=steered,
        prompts=prompts,
        texts=texts,
        kl=spent,
        reference_ratios=-spent[1:],
        tokens=np.full(texts.shape, 7.0),
        ended=np.ones(texts.shape),
        valid=np.ones(texts.shape),
    )


def method(name: str, *runs: Answers) -> Method:
    facts = {"runs": [run.run for run in runs], "seeds": list(range(len(runs))), "smoke": False}
    origins = [Origin(seed=seed, stands_on={"data": run.run}) for seed, run in enumerate(runs)]
    return Method(name=name, seeds=[judge_answers(run, judge) for run in runs], origins=origins, facts=facts)


def compared(*methods: Method, world: Any = None, **settings: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return Compare(**(SETTINGS | settings)).compare(methods, GRID, ("a", "b"), world, seed=3)


@pytest.fixture(scope="module")
def pair() -> tuple[dict[str, Any], dict[str, np.ndarray], list[Method]]:
    methods = [method("strong", answers(2.0, seed=1, kl=8.0)), method("weak", answers(0.4, seed=2, kl=1.0))]
    return *compared(*methods), methods


def raw(one: Judged) -> np.ndarray:
    return np.array([[[judge([t.split()[0]], [t])[0] for t in row] for row in place] for place in one.answers.texts])


def test_scores_are_in_units_of_the_reference_policies(pair):
    table, _, methods = pair
    references = np.concatenate([raw(m.seeds[0])[0].reshape(-1, 2) for m in methods])
    assert table["standardization"]["mean"] == pytest.approx(references.mean(0))
    assert table["standardization"]["std"] == pytest.approx(references.std(0))
    assert table["standardization"]["answers"] == 2 * X * N
    for entry, one in zip(table["methods"], methods, strict=True):
        own = raw(one.seeds[0])[1:].mean((1, 2))
        assert [p["unscaled"] for p in entry["points"]] == pytest.approx(own)
        expected = (own - references.mean(0)) / references.std(0)
        assert np.allclose([p["scores"] for p in entry["points"]], expected)
        assert [p["utility"] for p in entry["points"]] == pytest.approx((expected * GRID).sum(1))


def test_the_unit_does_not_depend_on_what_was_trained(pair):
    table, _, _ = pair
    other, _ = compared(method("strong", answers(9.0, seed=1)), method("weak", answers(0.4, seed=2)), **FEW)
    assert other["standardization"] == table["standardization"]


def test_win_rates_and_worst_objectives_by_counting(pair):
    table, _, methods = pair
    mean, std = (np.array(table["standardization"][key]) for key in ("mean", "std"))
    for entry, one in zip(table["methods"], methods, strict=True):
        scores = (raw(one.seeds[0]) - mean) / std
        for p, point in enumerate(entry["points"]):
            own, base = scores[1 + p], scores[0]
            wins, by_objective = [], []
            for x in range(X):
                for i in range(N):
                    for j in range(N):
                        wins.append(own[x, i] @ GRID[p] > base[x, j] @ GRID[p])
                        by_objective.append(own[x, i] > base[x, j])
            assert point["win_rate"] == pytest.approx(np.mean(wins))
            assert point["win_rates"] == pytest.approx(np.mean(by_objective, axis=0))
            assert point["worst_objective"] == pytest.approx(own.min(-1).mean())


def test_utilities_of_each_method_by_hand(pair):
    everything = np.array([[p["scores"] for p in m["points"]] for m in pair[0]["methods"]])
    possible = (everything.reshape(-1, 2) @ GRID.T).max(0)
    for points, entry in zip(everything, pair[0]["methods"], strict=True):
        utility, best = (points * GRID).sum(1), (points @ GRID.T).max(0)
        expected = {
            "inner_product": utility.mean(), "expected_utility": best.mean(), "worst_utility": utility.min(),
            "steering_regret": best.mean() - utility.mean(), "max_utility_loss": (possible - best).max(),
            "worst_objective": np.mean([p["worst_objective"] for p in entry["points"]]),
            "win_rate": np.mean([p["win_rate"] for p in entry["points"]]),
        }  # fmt: skip
        assert {name: entry["indicators"][name]["value"] for name in expected} == pytest.approx(expected)
    assert pair[0]["methods"][1]["indicators"]["max_utility_loss"]["value"] > 1  # the weak one leaves much


def test_what_the_reference_policies_got_stands_beside_each_method(pair):
    table, _, methods = pair
    mean, std = (np.array(table["standardization"][key]) for key in ("mean", "std"))
    for entry, one in zip(table["methods"], methods, strict=True):
        scores = (raw(one.seeds[0])[0] - mean) / std
        assert entry["reference"]["scores"] == pytest.approx(scores.mean((0, 1)))
        assert entry["reference"]["worst_objective"] == pytest.approx(scores.min(-1).mean())


def test_one_reference_point_for_all_below_every_point_and_reference_policy(pair):
    table, _, _ = pair
    everything = np.array(
        [p["scores"] for m in table["methods"] for p in m["points"]]
        + [m["reference"]["scores"] for m in table["methods"]]
    )
    z = everything.min(0) - 0.1 * np.ptp(everything, axis=0)
    assert table["reference_point"]["values"] == pytest.approx(z)
    for entry in table["methods"]:
        points = [p["scores"] for p in entry["points"]]
        assert entry["indicators"]["hypervolume"]["value"] == pytest.approx(hypervolume(points, z))


def test_nothing_that_is_fixed_depends_on_the_order_of_methods(pair):
    table, _, methods = pair
    other, _ = compared(*methods[::-1])
    for part, key in (("standardization", "mean"), ("reference_point", "values"), ("kl_budget", "values")):
        assert other[part][key] == pytest.approx(table[part][key])
    assert np.allclose(other["sweep"]["reference_points"], table["sweep"]["reference_points"])


def test_the_reference_point_lies_below_reference_policies_that_every_point_beats():
    base = answers(0.5, seed=1)
    texts = base.texts.copy()
    for place in np.ndindex(*texts.shape):
        prompt, a, b = texts[place].split()
        texts[place] = f"{prompt} {float(a) + 3 * (place[0] > 0)!r} {float(b) + 3 * (place[0] > 0)!r}"
    table, _ = compared(method("one", Answers(**{**vars(base), "texts": texts})), **FEW)
    z, (only,) = np.array(table["reference_point"]["values"]), table["methods"]
    reference, points = np.array(only["reference"]["scores"]), np.array([p["scores"] for p in only["points"]])
    assert (reference < points).all()
    assert z == pytest.approx(reference - 0.1 * (points.max(0) - reference))
    assert only["kl_curve"]["hypervolume"][0] == pytest.approx(np.prod(reference - z))  # a budget of 0 leaves it all


def test_a_difference_is_the_paired_interval_of_the_bootstrap(pair):
    table, stacked, _ = pair
    z = table["reference_point"]["values"]
    statistics = {
        "hypervolume": lambda f: hypervolume(f[:, :2], z),
        "inner_product": lambda f: inner_product(f[:, :2], GRID),
    }
    (only,) = table["pairs"]
    for name, statistic in statistics.items():
        expected = difference_interval(
            stacked["strong"], stacked["weak"], statistic,
            level=0.95, samples=100, seed=3, new_seeds=False, paired_seeds=False, bias_corrected=True,
        )  # fmt: skip
        entry = only["verdicts"][name]
        assert entry["difference"] == pytest.approx(expected.estimate)
        assert entry["interval"] == pytest.approx([expected.low, expected.high])
        assert entry["verdict"] == "A > B" and entry["p"] <= entry["p_holm"] <= 4 * entry["p"]
    assert table["family"] == 4
    assert only["by_reference_point"] == "A" and only["covers"] == THESE_POLICIES
    assert only["said"] == (
        "strong > weak in hypervolume and realized utility. "
        "At matched KL: strong and weak undecided in hypervolume and realized utility. "
        "By the point estimates strong has more hypervolume at every reference point."
    )


def test_one_correction_over_all_pairs_indicators_and_budgets():
    table, _ = compared(
        method("one", answers(0.50, seed=1)),
        method("two", answers(0.46, seed=2)),
        method("three", answers(0.4, seed=3)),
        **FEW,
    )
    entries = [entry for p in table["pairs"] for part in ("verdicts", "at_matched_kl") for entry in p[part].values()]
    assert len(entries) == table["family"] == 12
    found = [entry["p_holm"] for entry in entries]
    assert found == pytest.approx(holm([entry["p"] for entry in entries]), rel=1e-9, abs=0)
    calls = [entry["verdict"] != "undecided" for entry in entries]
    assert calls == [value <= 0.05 for value in found] and 0 < sum(calls) < 12


def test_a_difference_over_seeds_is_that_of_newly_trained_ones():
    """Seeds differ by 1 and prompts by hardly anything: these policies differ for sure, those of new seeds may not."""
    one = method("one", answers(2.0, seed=1, kl=1.0), answers(1.0, seed=2, kl=1.0))
    two = method("two", answers(1.2, seed=3, kl=1.0), answers(0.2, seed=4, kl=1.0))
    table, stacked = compared(one, two, **FEW)
    (only,) = table["pairs"]
    ends = {}
    for new in (False, True):
        expected = difference_interval(
            stacked["one"], stacked["two"], lambda f: inner_product(f[:, :2], GRID),
            level=0.95, samples=100, seed=3, new_seeds=new, paired_seeds=False, bias_corrected=True,
        )  # fmt: skip
        ends[new] = [expected.low, expected.high]
    assert only["verdicts"]["inner_product"]["interval"] == pytest.approx(ends[True])
    assert ends[False][0] > 0 > ends[True][0]
    assert only["verdicts"]["inner_product"]["verdict"] == "undecided"
    assert only["covers"].startswith(f"{NEW_SEEDS}, seeds not paired (equal seeds share neither")
    margins = interval(
        stacked["one"], lambda f: f[0, 1], level=0.95, samples=100, seed=3, new_seeds=True, bias_corrected=False
    )
    found = table["methods"][0]["points"][0]["margins"][1]
    assert found == pytest.approx((margins.high - margins.low) / 2) and found > 1  # that of a point too


def seeded(name: str, base: float, gains: Sequence[float], **shared: str) -> Method:
    """Three seeds, each with luck of its own that both methods of a test share."""
    runs = [answers(base + gain, seed=7, kl=1.0) for gain in gains]
    facts = {"runs": [f"{name}-{i}" for i in range(3)], "seeds": [0, 1, 2], "smoke": False}
    origins = [Origin(seed=i, stands_on={key: f"{value}-{i}" for key, value in shared.items()}) for i in range(3)]
    return Method(name=name, seeds=[judge_answers(run, judge) for run in runs], origins=origins, facts=facts)


def test_seeds_that_stand_on_the_same_runs_are_paired():
    """Seeds differ by 1, methods by .1 and little luck of their own: pairing sees it, drawing each alone does not."""
    lucky, own = np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.01, 0.0])
    one = seeded("one", 1.1, lucky + own, data="rows", policy="sft")
    paired, stacked = compared(one, seeded("two", 1.0, lucky, data="rows", policy="other"), **FEW)
    apart, _ = compared(one, seeded("two", 1.0, lucky, data="others"), **FEW)
    together, alone = (table["pairs"][0]["verdicts"]["inner_product"] for table in (paired, apart))
    assert together["difference"] == pytest.approx(alone["difference"])
    assert np.ptp(together["interval"]) < 0.1 * np.ptp(alone["interval"])
    assert (together["verdict"], alone["verdict"]) == ("A > B", "undecided")
    assert paired["pairs"][0]["covers"] == f"{NEW_SEEDS}, seeds paired (the same data)"
    assert "equal seeds share neither data nor a starting policy" in apart["pairs"][0]["covers"]
    expected = difference_interval(
        stacked["one"], stacked["two"], lambda f: inner_product(f[:, :2], GRID),
        level=0.95, samples=100, seed=3, new_seeds=True, paired_seeds=True, bias_corrected=True,
    )  # fmt: skip
    assert together["interval"] == pytest.approx([expected.low, expected.high])


def test_the_order_in_which_runs_are_named_pairs_nothing_else():
    lucky = np.array([0.0, 1.0, 2.0])
    one, two = seeded("one", 1.1, lucky, data="rows"), seeded("two", 1.0, lucky, data="rows")
    turned = Method(name="two", seeds=two.seeds[::-1], origins=two.origins[::-1], facts=two.facts)
    ends = [
        compared(one, other, **FEW)[0]["pairs"][0]["verdicts"]["hypervolume"]["interval"] for other in (two, turned)
    ]
    assert ends[0] == pytest.approx(ends[1])


def test_answers_that_are_not_the_policys_own_are_not_matched(pair):
    table, _ = compared(*pair[2], temperature=0.7, **FEW)
    assert all(one["at_matched_kl"] is one["kl_curve"] is None for one in table["methods"])
    (only,) = table["pairs"]
    assert only["at_matched_kl"] is None and table["family"] == 2
    assert any("drawn from the policies as they are" in warning for warning in table["warnings"])


def test_too_few_effective_answers_give_no_verdict_at_matched_kl(pair):
    table, _ = compared(*pair[2], kl_effective=2.0 * N, **FEW)
    (only,) = table["pairs"]
    assert only["at_matched_kl"] is None and table["family"] == 2 and "no verdict" in only["said"]
    assert any("No verdict at matched KL about strong" in warning for warning in table["warnings"])
    assert table["methods"][0]["at_matched_kl"] is not None  # numbers stay


def test_two_optima_of_one_problem_are_even_at_matched_kl():
    """Optima at KL weights of .4 and .8, in a world of 60 answers: one earns more, and neither is the better method."""
    methods = [optimal("far", 0.4), optimal("near", 0.8)]
    table, _ = compared(*methods, resamples=200, kl_effective=4.0, prompts=OPTIMA, samples=8, **FEW)
    (only,) = table["pairs"]
    assert {entry["verdict"] for entry in only["verdicts"].values()} == {"A > B"}
    assert {entry["verdict"] for entry in only["at_matched_kl"].values()} == {"undecided"}
    own, matched = (only[part]["inner_product"]["difference"] for part in ("verdicts", "at_matched_kl"))
    assert own > 0.4 and abs(matched) < 0.1 * own


OPTIMA, RESPONSES = 40, 60


def optimal(name: str, kl_coef: float) -> Method:
    """Eight sampled answers to each prompt of the exact optimum at every preference, and of the reference policy."""
    world, own = np.random.default_rng(5), np.random.default_rng([6, int(10 * kl_coef)])
    reference = log_softmax(world.normal(size=(OPTIMA, RESPONSES)), -1)
    rewards = world.normal(size=(OPTIMA, RESPONSES, 2))
    best = [linear_optimum(reference, rewards, weights, kl_coef=kl_coef).logps for weights in GRID]
    rows = np.arange(OPTIMA)[:, None]
    places = [
        (own.random((OPTIMA, 8, 1)) > (p := np.exp(logps).cumsum(-1) / np.exp(logps).sum(-1, keepdims=True))[:, None])
        .sum(-1).clip(max=p.shape[1] - 1)
        for logps in (reference, *best)
    ]  # fmt: skip
    texts = np.empty((4, OPTIMA, 8), dtype=object)
    for place in np.ndindex(*texts.shape):
        a, b = rewards[place[1], places[place[0]][place[1], place[2]]]
        texts[place] = f"p{place[1]} {float(a)!r} {float(b)!r}"
    ratios = [logps - reference for logps in (reference, *best)]
    given = Answers(
        run=name, steered=True, prompts=tuple(f"p{x}" for x in range(OPTIMA)), texts=texts,
        kl=np.stack([ratio[rows, chosen] for ratio, chosen in zip(ratios, places, strict=True)]),
        reference_ratios=np.stack([ratio[rows, places[0]] for ratio in ratios[1:]]),
        tokens=np.ones(texts.shape), ended=np.ones(texts.shape), valid=None,
    )  # fmt: skip
    return method(name, given)


def test_prompts_are_paired_between_methods():
    """Prompts differ much more than methods do: only a paired difference sees the small one."""
    table, _ = compared(method("more", answers(0.5, seed=1)), method("less", answers(0.3, seed=2)), **FEW)
    one, two = (m["indicators"]["inner_product"]["interval"] for m in table["methods"])
    assert one[0] < two[1]  # the intervals of the two overlap
    assert table["pairs"][0]["verdicts"]["inner_product"]["verdict"] == "A > B"


def test_a_method_against_a_copy_of_itself_is_undecided():
    table, _ = compared(method("one", answers(0.5, seed=1)), method("copy", answers(0.5, seed=1)), **FEW)
    (only,) = table["pairs"]
    for entry in (*only["verdicts"].values(), *only["at_matched_kl"].values()):
        assert (entry["difference"], entry["p"], entry["verdict"]) == (0.0, 1.0, "undecided")
    assert only["by_reference_point"] == "equal"


def test_matched_kl_grants_every_preference_the_least_that_is_spent(pair):
    table, stacked, _ = pair
    assert table["kl_budget"]["values"] == pytest.approx([1.0, 1.0, 1.0])
    strong, weak = table["methods"]
    assert np.allclose([p["at_matched_kl"] for p in weak["points"]], [p["scores"] for p in weak["points"]])
    mean, columns = stacked["strong"].mean((0, 2)), Columns(2)
    expected = at_kl_budget(mean[:, columns.path_kl], mean[:, columns.path_scores].reshape(3, -1, 2), 1.0)
    share = (expected - strong["reference"]["scores"]) @ [0, 1] / (np.array(
        [p["scores"] for p in strong["points"]]) - strong["reference"]["scores"])[:, 1]  # fmt: skip
    assert 0.1 < share[0] < 0.4  # a few of eight nats are worth about as much of the gain
    assert np.allclose([p["at_matched_kl"] for p in strong["points"]], expected)
    z = table["reference_point"]["values"]
    assert strong["at_matched_kl"]["hypervolume"]["value"] == pytest.approx(hypervolume(expected, z))
    assert 0 < strong["at_matched_kl"]["inner_product"]["value"] < strong["indicators"]["inner_product"]["value"]


def test_the_budget_is_the_least_at_each_preference_and_not_of_all():
    def spending(number: int, nats: list[float]) -> Method:
        base = answers(1.0, seed=number)
        places = np.array([0.0, *nats])[:, None, None]
        return method(
            f"m{number}",
            Answers(
                **{
                    **vars(base),
                    "kl": places + 0 * base.kl,
                    "tokens": places + base.tokens,
                    "reference_ratios": -places[1:] + 0 * base.kl[1:],
                }
            ),  # fmt: skip
        )

    table, _ = compared(spending(1, [1.0, 2.0, 6.0]), spending(2, [4.0, 2.5, 3.0]), **FEW)
    assert table["kl_budget"]["values"] == pytest.approx([1.0, 2.0, 3.0])
    first = table["methods"][0]
    assert [p["kl"] for p in first["points"]] == pytest.approx([1.0, 2.0, 6.0])
    assert [p["tokens"] for p in first["points"]] == pytest.approx([8.0, 9.0, 13.0])
    assert first["reference"]["tokens"] == pytest.approx(7.0)
    assert first["points"][0]["at_matched_kl"] == pytest.approx(first["points"][0]["scores"])
    start, end = first["reference"]["scores"][0], first["points"][2]["scores"][0]
    assert start < first["points"][2]["at_matched_kl"][0] < end


def test_matched_kl_stays_below_what_is_measured():
    """Two standard errors of the mean over prompts below the least KL, so that every method is mixed a little."""
    generator = np.random.default_rng(4)
    spent = [2.0 + generator.gamma(1.0, size=(1, X, 1)), 4.0 + generator.gamma(1.0, size=(1, X, 1))]
    runs = []
    for seed, kl in enumerate(spent):
        base = answers(1.0, seed=seed)
        runs.append(Answers(**{**vars(base), "kl": np.where(np.arange(4)[:, None, None] > 0, kl, 0.0) + 0 * base.kl}))
    table, _ = compared(method("less", runs[0]), method("more", runs[1]), **FEW)
    expected = spent[0].mean() - 2 * spent[0].std(ddof=1) / np.sqrt(X)
    assert table["kl_budget"]["values"] == pytest.approx([expected] * 3, rel=0.05)  # a hundred resamples
    assert "of KL less 2 standard errors" in table["kl_budget"]["rule"]
    at_it, _ = compared(method("less", runs[0]), method("more", runs[1]), kl_errors_below=0.0, **FEW)
    assert at_it["kl_budget"]["values"] == pytest.approx([spent[0].mean()] * 3)


def test_a_named_kl_budget_and_the_curve_over_budgets(pair):
    table, _ = compared(*pair[2], kl_budget=4.0, sweep_steps=1)
    assert table["kl_budget"]["values"] == [4.0, 4.0, 4.0]
    assert table["kl_budgets"] == pytest.approx([0.0, 4.0, 8.0])
    for entry in table["methods"]:
        curve = entry["kl_curve"]["inner_product"]
        assert curve[1] == pytest.approx(entry["at_matched_kl"]["inner_product"]["value"])
        assert curve[0] == pytest.approx(np.mean(GRID @ np.array(entry["reference"]["scores"])))
        assert curve[-1] == pytest.approx(entry["indicators"]["inner_product"]["value"])
        low, high = np.array(entry["kl_curve"]["inner_product_interval"]).T
        assert (low < curve).all() and (curve < high).all()


def test_a_policy_that_is_not_steered_spends_no_kl_and_does_not_lower_the_budget(pair):
    table, _ = compared(*pair[2], method("start", answers(0.0, seed=3, steered=False)), **FEW)
    assert table["kl_budget"]["values"] == pytest.approx([1.0, 1.0, 1.0])
    start = table["methods"][2]
    assert not start["steered"] and start["indicators"]["kl"]["value"] == 0
    assert len({tuple(p["scores"]) for p in start["points"]}) == 1
    assert {p["win_rate"] for p in start["points"]} == {0.5}
    assert start["indicators"]["kendall_tau"]["value"] == [0, 0]
    assert [p["verdicts"]["inner_product"]["verdict"] for p in table["pairs"]] == ["A > B"] * 3
    assert table["family"] == 12


def test_the_ranking_that_a_reference_point_can_flip_is_said_to_depend_on_it():
    """One balanced set against one of extremes, as in the docstring of ``reference_sweep``."""

    def at(points: np.ndarray, name: str) -> Method:
        base = answers(0.0, noise=0.01)
        texts = base.texts.copy()
        for p, x, n in np.ndindex(*texts.shape):
            jitter = 1e-3 * np.sin(7 * x + n)
            a, b = (points[p - 1] if p else np.array([-0.5, -0.5])) + jitter * (10 if not p else 1)
            texts[p, x, n] = f"p{x} {float(a)!r} {float(b)!r}"
        return method(name, Answers(**{**vars(base), "texts": texts, "run": name}))

    center, ends = np.full((3, 2), 1.0), np.array([[0.2, 1.6], [0.2, 1.6], [1.6, 0.2]])
    table, _ = compared(at(center, "center"), at(ends, "ends"), sweep_reach=1.0, sweep_steps=10, kl_steps=1)
    assert table["pairs"][0]["by_reference_point"] == "depends on the reference point"
    assert "center and ends" in table["warnings"][0] and "reference point" in table["warnings"][0]
    assert table["sweep"]["distances"] == pytest.approx(np.linspace(0, 1, 11))
    first, last = (table["sweep"]["reference_points"][i] for i in (0, -1))
    for name, points in (("center", center), ("ends", ends)):
        volumes = table["sweep"]["hypervolumes"][name]
        unit = table["standardization"]
        expected = [hypervolume((points - unit["mean"]) / unit["std"], z) for z in (first, last)]
        assert [volumes[0], volumes[-1]] == pytest.approx(expected, rel=1e-3)  # but for the jitter


def test_several_seeds_make_a_statement_about_new_ones():
    seeds = [answers(gain, seed=number) for number, gain in enumerate((0.5, 2.5, 1.5))]
    others = [answers(gain, seed=10 + number) for number, gain in enumerate((0.2, 0.3, 0.25))]
    many, _ = compared(method("many", *seeds), method("others", *others), method("one", answers(0.2, seed=7)), **FEW)
    assert [m["covers"] for m in many["methods"]] == [NEW_SEEDS, NEW_SEEDS, THESE_POLICIES]
    assert [p["covers"].split(", seeds")[0] for p in many["pairs"]] == [NEW_SEEDS, THESE_POLICIES, THESE_POLICIES]
    fronts = np.array(many["methods"][0]["fronts_by_seed"])
    assert fronts.shape == (3, 3, 2)
    assert np.allclose(fronts.mean(0), [p["scores"] for p in many["methods"][0]["points"]])
    alone, _ = compared(method("many", seeds[0]), method("others", others[0]), **FEW)
    width = [np.ptp(t["methods"][0]["indicators"]["inner_product"]["interval"]) for t in (many, alone)]
    assert width[0] > 2 * width[1]  # seeds differ more than prompts do


def test_the_exact_front_of_a_world_takes_the_unit_and_is_what_igd_measures(pair):
    world = {"front": [[8.0, 15.0], [5.0, 18.0]], "best": [[5.0, 18.0]] * 3, "floor": [0.0, 0.0]}  # out of reach
    table, _ = compared(*pair[2], world=world, **FEW)
    unit = table["standardization"]
    assert np.allclose(table["world"]["front"], (np.array(world["front"]) - unit["mean"]) / unit["std"])
    entry = table["methods"][0]["indicators"]["igd_plus"]
    missing = np.maximum(
        np.array(table["world"]["front"])[:, None] - [p["scores"] for p in table["methods"][0]["points"]], 0
    )
    assert entry["value"] == pytest.approx(np.linalg.norm(missing, axis=-1).min(1).mean()) and entry["value"] > 0.5
    assert "exact front" in entry["definition"]
    assert "pooled front" in pair[0]["methods"][0]["indicators"]["igd_plus"]["definition"]


def test_the_band_holds_the_front_and_is_ordered(pair):
    for entry in pair[0]["methods"]:
        z = pair[0]["reference_point"]["values"]
        volumes = [hypervolume(surface, z) for surface in entry["band"]["surfaces"]]
        assert volumes[0] > volumes[1] > volumes[2]  # attained by 2.5 %, 50 % and 97.5 % of resampled fronts
        assert volumes[0] > entry["indicators"]["hypervolume"]["value"] > volumes[2]


def test_an_objective_in_which_the_reference_never_varies_is_told():
    base = answers(0.5, seed=1)
    texts = base.texts.copy()
    for place in np.ndindex(*texts.shape):
        prompt, a, _ = texts[place].split()
        texts[place] = f"{prompt} {a} {1.0 if place[0] == 0 else 3.0}"
    table, _ = compared(method("one", Answers(**{**vars(base), "texts": texts})), **FEW)
    assert table["standardization"]["std"][1] == 1.0
    assert any("alike in b" in warning for warning in table["warnings"])
    assert table["pairs"] == [] and table["family"] == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"resamples": 0}, "evaluation.resamples=0: a comparison needs intervals"),
        ({"margin": -0.1}, "evaluation.margin=-0.1: must be at least 0"),
        ({"kl_budget": -1.0}, "evaluation.kl_budget=-1.0"),
        ({"sweep_reach": 0.0}, "evaluation.sweep_reach=0.0: must be above 0"),
        ({"sweep_steps": 0}, "evaluation.sweep_steps=0"),
        ({"level": 1.0}, "evaluation.level=1.0"),
    ],
)
def test_settings_without_meaning_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        Compare(**(SETTINGS | wrong))


def test_too_few_prompts_are_refused():
    base = answers(0.5)
    few = Answers(
        run="few", steered=True, prompts=base.prompts[:7],
        texts=base.texts[:, :7], kl=base.kl[:, :7], tokens=base.tokens[:, :7], ended=base.ended[:, :7],
        reference_ratios=base.reference_ratios[:, :7], valid=None,
    )  # fmt: skip
    with pytest.raises(InputError, match="7 prompts are too few.*evaluation.prompts=8 or more"):
        compared(method("few", few))


def test_a_protocol_names_all_that_answers_depend_on():
    rows = {"train": [], "test": [SimpleNamespace(prompt=f"p{x}") for x in range(X)]}
    corpus = SimpleNamespace(prompts=rows, asked="test", objectives=("a", "b"), max_response=8)

    def protocol(seed: int = 0, **settings: Any) -> str:
        return Compare(**(SETTINGS | settings)).protocol(corpus, seed=seed)

    others = [protocol(seed=1), protocol(preferences=GRID[::-1].tolist())]
    others += [protocol(**{key: SETTINGS[key] / 2}) for key in ("temperature", "top_p")]
    others += [protocol(**{key: SETTINGS[key] + 1}) for key in ("samples", "top_k")]
    others += [protocol(prompts=X - 1)]
    assert len({protocol(), *others}) == 1 + len(others)
    assert protocol() == protocol(batch_size=4, resamples=200, level=0.9, margin=0.2, kl_budget=1.0, judge="another")


def test_methods_below_a_far_better_one_are_still_ranked():
    """Beside the pooled front of all three the two weak ones have no volume; the pair has its own sweep."""
    table, _ = compared(
        method("far", answers(9.0, seed=1)),
        method("more", answers(0.9, seed=2)),
        method("less", answers(0.1, seed=3)),
        kl_steps=1,
    )
    last = table["pairs"][2]
    assert (last["a"], last["b"], last["by_reference_point"]) == ("more", "less", "A")


def test_a_budget_of_nothing_is_told():
    base = answers(1.0, seed=1)
    noisy = np.where(np.arange(4)[:, None, None] > 0, np.arange(X)[None, :, None] * 3.0 - 16.0, 0.0) + 0 * base.kl
    table, _ = compared(
        method("one", Answers(**{**vars(base), "kl": noisy})), method("two", answers(0.5, seed=2)), **FEW
    )
    assert table["kl_budget"]["values"] == [0.0, 0.0, 0.0]
    assert any("The KL budget is 0 at 3 of 3 preferences" in warning for warning in table["warnings"])


def test_a_judge_that_gives_no_number_is_named_with_the_answer():
    def broken(prompts, responses, sampled):
        scores = judge(prompts, responses)
        scores[5, 1] = np.nan
        return scores

    with pytest.raises(InputError, match=r"run-0.5-0: the judge gives .*nan. for the answer 'p1 .* to the prompt 'p1'"):
        judge_answers(answers(0.5), broken)


# --- cells and files -------------------------------------------------------------------------------------------------


def test_cells_stand_where_their_columns_say():
    judged = judge_answers(answers(0.5, seed=1), judge)
    unit, columns = Unit.of([judged]), Columns(2)
    found = cells(judged, unit, GRID)
    assert found.shape == (3, X, columns.path_scores.stop) and columns.measured.stop == columns.worst + 1
    assert np.allclose(found[..., columns.scores], unit(judged.scores[1:]).mean(2))
    assert np.allclose(found[..., columns.reference], unit(judged.scores[0]).mean(1))
    assert np.allclose(found[..., columns.kl], 2.0)
    path = found[..., columns.path_scores].reshape(3, X, -1, 2)
    assert np.allclose(path[:, :, 0], found[..., columns.reference])
    assert np.allclose(path[:, :, -1], found[..., columns.scores])
    assert np.allclose(found[..., columns.path_kl][..., [0, -1]], [0.0, 2.0])
    assert (found[..., columns.path_effective] <= 2 * N).all()
    assert np.allclose(unit.undone(unit(judged.scores)), judged.scores)


def test_margins_are_half_the_intervals_of_the_means(pair):
    table, stacked, _ = pair
    point = table["methods"][0]["points"][1]
    asked = {"level": 0.95, "samples": 100, "seed": 3, "new_seeds": False, "bias_corrected": False}
    for found, statistic in (
        (point["margins"][1], lambda f: f[1, 1]),
        (point["kl_margin"], lambda f: f[1, Columns(2).kl]),
        (point["utility_margin"], lambda f: f[1, :2] @ GRID[1]),
    ):
        expected = interval(stacked["strong"], statistic, **asked)
        assert found == pytest.approx((expected.high - expected.low) / 2, abs=1e-12)


def test_intervals_of_win_rates_are_wilsons_and_stay_in_0_to_1(pair):
    """The ends are the shares whose own deviation puts the win rate at the margin: (p - w)^2 n = q^2 w (1 - w)."""
    table, stacked, _ = pair
    asked = {"level": 0.95, "samples": 100, "seed": 3, "new_seeds": False, "bias_corrected": False}
    for number, point in enumerate(table["methods"][0]["points"]):
        share, ends = point["win_rate"], (point["win_rate_low"], point["win_rate_high"])
        assert 0 <= ends[0] <= share <= ends[1] <= 1 and ends[0] < ends[1]
        found = interval(stacked["strong"], lambda f, number=number: f[number, Columns(2).win], **asked)
        margin = (found.high - found.low) / 2
        for end in ends if 0 < share < 1 and margin > 0 else ():
            assert (share - end) ** 2 * share * (1 - share) == pytest.approx(margin**2 * end * (1 - end), abs=1e-12)


def test_a_policy_that_is_not_steered_is_judged_once():
    asked = []

    def counting(prompts, responses, sampled):
        asked.append(len(responses))
        return judge(prompts, responses)

    judged = judge_answers(answers(0.0, steered=False), counting)
    assert asked == [X * N]
    assert judged.scores.shape == (4, X, N, 2) and np.array_equal(judged.scores[0], judged.scores[3])


def test_a_judge_hears_which_answers_ended_and_a_reader_how_many():
    heard, base = [], answers(0.5)
    ended = base.ended.copy()
    ended[2, :, 0] = 0.0  # one of the N answers to each prompt, at one preference
    ended[0, 0, 0] = 0.0

    def listening(prompts, responses, sampled):
        heard.append(sampled)
        return judge(prompts, responses) - 5.0 * ~np.array(sampled.ended)[:, None]

    cut = Answers(**{**vars(base), "ended": ended})
    judged = judge_answers(cut, listening)
    assert heard[0].tokens is None and np.array_equal(np.array(heard[0].ended).reshape(ended.shape), ended > 0)
    assert np.allclose(judged.scores - judge_answers(base, judge).scores, -5.0 * (ended == 0)[..., None])
    table, _ = compared(method("cut", cut), method("whole", base), **FEW)
    first, second = table["methods"]
    assert [point["ended"] for point in first["points"]] == pytest.approx([1.0, 1 - 1 / N, 1.0])
    assert first["reference"]["ended"] == pytest.approx(1 - 1 / (X * N)) and second["reference"]["ended"] == 1.0
    (told,) = [warning for warning in table["warnings"] if "did not end" in warning]
    assert told.startswith(f"cut: up to {1 / N:.0%}")


def test_answers_of_tables_that_do_not_say_what_ended_are_refused(tmp_path):
    stored(tmp_path, answers(0.5))
    rows = read_lines(tmp_path / "samples.jsonl")
    write_lines(tmp_path / "samples.jsonl", [{k: v for k, v in row.items() if k != "ended"} for row in rows])
    with pytest.raises(InputError, match="ended of an answer is no number; measure the run again"):
        read_answers(tmp_path, GRID)


def stored(folder: Path, one: Answers) -> Path:
    """As the evaluation of a run writes it."""
    rows = []
    for place, preference in enumerate([None, *GRID.tolist()]):
        if place and not one.steered:
            break
        for x, prompt in enumerate(one.prompts):
            for n in range(N):
                row = {"preference": preference, "prompt": prompt, "response": one.texts[place, x, n], "sample": n}
                row |= {"log_ratios": one.reference_ratios[:, x, n].tolist()} if one.steered and not place else {}
                rows.append(
                    row | {key: float(vars(one)[key][place, x, n]) for key in ("kl", "tokens", "ended", "valid")}
                )
    write_lines(folder / "samples.jsonl", rows)
    write_json(folder / "front.json", {"run": one.run, "steered": one.steered, "samples_per_prompt": N})
    return folder


@pytest.mark.parametrize("steered", [True, False])
def test_answers_come_back_from_the_tables_of_a_run(tmp_path, steered):
    before = answers(0.5, steered=steered)
    after = read_answers(stored(tmp_path, before), GRID)
    assert (after.run, after.steered, after.prompts) == (before.run, steered, before.prompts)
    assert (after.texts == before.texts).all()
    for key in ("kl", "tokens", "ended", "valid", "reference_ratios"):
        assert np.array_equal(vars(after)[key], vars(before)[key])


def test_answers_that_are_missing_are_noticed(tmp_path):
    stored(tmp_path, answers(0.5))
    rows = read_lines(tmp_path / "samples.jsonl")
    write_lines(tmp_path / "samples.jsonl", rows[:-1])
    with pytest.raises(InputError, match="samples.jsonl lacks answers"):
        read_answers(tmp_path, GRID)
    short = rows[0] | {"log_ratios": rows[0]["log_ratios"][1:] * 2}
    for wrong in ([*rows[:-1], rows[-1] | {"preference": [0.3, 0.7]}], [short, *rows[1:]]):
        write_lines(tmp_path / "samples.jsonl", wrong)
        with pytest.raises(InputError, match="answers that front.json counts"):
            read_answers(tmp_path, GRID)


def test_the_flat_tables_say_what_the_json_says(tmp_path, pair):
    table, stacked, methods = pair
    head = {"comparison": "x", "objectives": ["a", "b"], "split": "test", "prompts": X, "samples_per_prompt": N}
    head |= {"judge": {"name": "gold", "kind": "rules", "unit": "std"}}
    facts = {"algo": "panacea", "model": "tiny", "smoke": True, "settings": {}, "trained_by": None}
    table = table | {"methods": [facts | {"runs": [], "judge_trained_it": False} | one for one in table["methods"]]}
    write_tables(tmp_path / "tables", head | table, methods, stacked, shown=2)
    files = {path.name: path for path in (tmp_path / "tables").iterdir()}
    flat_files = {"points.csv", "indicators.csv", "pairs.csv", "scores.csv"}
    assert set(files) == {"compare.json", "answers.jsonl", "manifest.json"} | flat_files
    names = ("points", "indicators", "pairs", "scores")
    flat = {name: list(csv.DictReader(files[f"{name}.csv"].open())) for name in names}
    assert read_json(files["compare.json"])["pairs"][0]["said"] == table["pairs"][0]["said"]
    assert [float(row["scores_a"]) for row in flat["points"]] == [
        p["scores"][0] for m in table["methods"] for p in m["points"]
    ]
    volume = next(row for row in flat["indicators"] if row["method"] == "weak" and row["indicator"] == "hypervolume")
    assert float(volume["value"]) == table["methods"][1]["indicators"]["hypervolume"]["value"]
    assert volume["definition"] and volume["reference_point"] and (volume["seeds"], volume["prompts"]) == ("1", str(X))
    assert [row["verdict"] for row in flat["pairs"]] == ["A > B", "A > B", "undecided", "undecided"]
    # the means of the finest table are the points
    assert len(flat["scores"]) == 2 * 3 * X
    rows = [row for row in flat["scores"] if row["method"] == "strong" and row["weight_a"] == "1.0"]
    assert np.mean([float(row["score_b"]) for row in rows]) == pytest.approx(
        table["methods"][0]["points"][2]["scores"][1]
    )
    shown = read_lines(files["answers.jsonl"])
    assert {row["prompt"] for row in shown} == {"p0", "p6"}
    assert {row["method"] for row in shown} == {
        "strong",
        "weak",
        "reference policy of strong",
        "reference policy of weak",
    }
    for row in shown:
        prompt, a, b = row["response"].split()
        unit = table["standardization"]
        assert prompt == row["prompt"]
        assert row["scores"] == pytest.approx((np.array([float(a), float(b)]) - unit["mean"]) / unit["std"])
