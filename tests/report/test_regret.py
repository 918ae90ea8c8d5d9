from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from mora.errors import InputError
from mora.files import write_json, write_lines
from mora.functional import tilting
from mora.functional.hull import hull_front
from mora.functional.pareto import default_grid
from mora.records.regret import Regret
from mora.report import regret as regret_words
from mora.report.regret import tiles
from mora.report.regret_figures import percent, regret_plates
from mora.report.run import write_report
from mora.report.tables import read_regret
from mora.run.conclude import conclude

NAMES = ("r1", "r2", "r3", "r4", "r5", "r6")
KL_COEF = 0.2


def _point(logps: np.ndarray, rewards: np.ndarray, weights: np.ndarray, share: float) -> dict[str, Any]:
    """A point of the table for the policy that is tilted by ``share`` of the gain."""
    gains = rewards @ weights
    best = tilting.linear_optimum(logps, rewards, weights, kl_coef=KL_COEF)
    policy = tilting.tilt(logps, share * gains, kl_coef=KL_COEF)
    who = {"reference": logps, "policy": policy, "optimum": best.logps}
    utility = {name: tilting.linear_utility(one, logps, rewards, weights, kl_coef=KL_COEF) for name, one in who.items()}
    return {
        "preference": weights.tolist(),
        "utility": utility,
        "relative_regret": (utility["optimum"] - utility["policy"]) / (utility["optimum"] - utility["reference"]),
        "kl": {name: tilting.exact_kl(one, logps) for name, one in who.items()},
        "gold": {name: tilting.expected(one, rewards).tolist() for name, one in who.items()},
        "by_prompt": [0.25],
    }


def regret_table(
    count: int, *, share: float = 0.6, limit: float | None = None, scorers: tuple[str, ...] = ("gold",)
) -> dict[str, Any]:
    """A table of 40 responses to one prompt; the policy is tilted by ``share`` of the gain, the limit by its own."""
    generator = np.random.default_rng(count)
    gold = generator.dirichlet(np.full(count + 1, 0.4), 40)[None, :, :count] ** 0.7
    logps = np.log(generator.dirichlet(np.ones(40), 1))
    judged: dict[str, Any] = {}
    for number, name in enumerate(scorers):
        rewards = gold + 0.1 * number * generator.normal(size=gold.shape)
        points = {
            part: [_point(logps, rewards, w, part) for w in default_grid(count)] for part in {share, limit} - {None}
        }
        judged[name] = {"points": points[share], "summary": {"relative_regret_worst_prompt": 0.25}}
        if limit is not None:
            judged[name]["limit"] = {"run": "exact-1234", "points": points[limit]}
    return {
        "run": "panacea-oracle",
        "objectives": list(NAMES[:count]),
        "kl_coef": KL_COEF,
        "scalarize": "Linear",
        "definition": "relative regret: (U* - U) / (U* - U_ref), exact utilities, means over prompts",
        "splits": {
            "train": {
                "prompts": ["a a"],
                "responses": 40,
                "scorers": judged,
                "pure": gold[0].tolist(),
                "hull": gold[0][hull_front(gold[0])].tolist(),
            }
        },
    }


def read(root: Path, table: dict[str, Any]) -> Regret:
    """What the table says of the prompts of training."""
    write_json(root / "regret.json", table)
    return read_regret(root / "regret.json")[0]


def section(regret: Regret, plates: list[Any]) -> str:
    return regret_words.section([regret], [plates])


def drawn(regret: Regret, plate: str, panel: int = 0) -> Axes:
    """The axes of a panel, drawn."""
    (found,) = [made for made in regret_plates(regret) if made.name == plate]
    axes = Figure().add_subplot()
    found.panels[panel].draw(axes)
    return axes


def offsets(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(c.get_offsets()).tolist() for c in axes.collections if isinstance(c, PathCollection)]


def row_of(html: str, heading: str) -> list[str]:
    """The cells of the table row that begins with a heading."""
    (row,) = re.findall(rf'<tr><th scope="row">(?:<span.*?</span>)?{heading}</th>(.*?)</tr>', html)
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_a_page_with_nothing_but_a_regret(tmp_path, undrawn):
    write_json(tmp_path / "run" / "tables" / "regret.json", regret_table(2, limit=0.8))
    write_lines(tmp_path / "run" / "metrics.jsonl", [{"step": s, "utility": s, "loss": -s} for s in (1, 2)])
    html = write_report(tmp_path / "run", []).read_text(encoding="utf-8")
    head = " ".join(html[html.index("<header>") : html.index("</header>")].split())
    for words in (
        "r1",
        "r2",
        "at 11 preferences",
        "40 responses to each of 1 prompts of training",
        "</code> 0.2",
        "nothing is sampled",
    ):
        assert words in head
    assert re.findall(r'<section id="(\w+)">', html) == ["regret", "training"]
    assert re.findall(r'href="#(\w+)"', head) == ["regret", "training"]
    assert html.index("utility: from") < html.index("loss: from")
    assert "nan" not in re.sub(r"<[^>]*>", " ", html).lower().split()


def test_figures_are_written(tmp_path):
    write_json(tmp_path / "tables" / "regret.json", regret_table(2))
    html = write_report(tmp_path, []).read_text(encoding="utf-8")
    files = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in ("regret-front", "regret") for kind in ("png", "pdf")}
    assert html.count("<svg") == 3
    assert {name for name in re.findall(r'href="figures/([^"]+)"', html)} == files


def test_beside_a_front_the_front_leads(make, tmp_path, undrawn):
    run, stages = make.run(tmp_path, 2, reward=False, curves=False)
    write_json(run / "tables" / "regret.json", regret_table(2))
    html = write_report(run, stages).read_text(encoding="utf-8")
    assert "Judged by the gold score" in html[: html.index("</header>")]
    assert "held against" not in html
    assert re.findall(r'<section id="(\w+)">', html)[:4] == ["front", "steering", "regret", "samples"]


def test_the_table_says_what_was_measured(tmp_path):
    table = regret_table(2, share=0.6, limit=0.8)
    html = section(read(tmp_path, table), [])
    point = table["splits"]["train"]["scorers"]["gold"]["points"][3]
    limit = table["splits"]["train"]["scorers"]["gold"]["limit"]["points"][3]
    utility, kl = point["utility"], point["kl"]
    assert point["preference"] == [0.3, 0.7]
    expected = [
        *(f"{utility[who]:.3f}" for who in ("reference", "policy", "optimum")),
        f"{100 * point['relative_regret']:.1f}",
        f"{100 * limit['relative_regret']:.1f}",
        *(f"{kl[who]:.3f}" for who in ("policy", "optimum")),
    ]
    assert row_of(html, "0.3 / 0.7") == [cell.replace("-", "−") for cell in expected]
    regrets = [p["relative_regret"] for p in table["splits"]["train"]["scorers"]["gold"]["points"]]
    assert row_of(html, "<strong>mean</strong>")[3] == f"{100 * sum(regrets) / 11:.1f}"
    assert row_of(html, "<strong>worst</strong>")[3] == f"{100 * max(regrets):.1f}"
    assert "(U* - U) / (U* - U_ref)" in html
    assert "U = E ⟨w, r⟩ − 0.2 KL" in html
    assert "exact-1234" in html


def test_without_a_limit_nothing_speaks_of_one(tmp_path):
    regret = read(tmp_path, regret_table(2))
    assert "limit" not in section(regret, regret_plates(regret)).lower()
    assert not [line for line in drawn(regret, "regret").lines if line.get_label() == "class limit"]


@pytest.mark.parametrize("scalarize", ["Tchebycheff", "TchebycheffExpected", "TchebycheffPrompt", "Other"])
def test_the_utility_is_spelled_out(tmp_path, scalarize):
    html = section(read(tmp_path, regret_table(2) | {"scalarize": scalarize}), [])
    words = {
        "Tchebycheff": "E minᵢ wᵢ (rᵢ − zᵢ)",
        "TchebycheffExpected": "minᵢ wᵢ (E rᵢ − zᵢ)",
        "TchebycheffPrompt": "E minᵢ wᵢ (E[rᵢ | x] − zᵢ)",
        "Other": "the Other gain",
    }
    assert words[scalarize] in html and "U = E ⟨w, r⟩" not in html


def test_regret_is_drawn_in_percent_over_the_weight(tmp_path):
    table = regret_table(2, limit=0.8)
    table["splits"]["train"]["scorers"]["gold"]["points"].reverse()  # any order of preferences
    table["splits"]["train"]["scorers"]["gold"]["limit"]["points"].reverse()
    axes = drawn(read(tmp_path, table), "regret")
    points = {
        p["preference"][0]: 100 * p["relative_regret"] for p in table["splits"]["train"]["scorers"]["gold"]["points"]
    }
    (found,) = offsets(axes)
    assert_allclose(found, sorted(points.items()))
    (line,) = [line for line in axes.lines if line.get_label() == "class limit"]
    assert_allclose(line.get_xdata(), sorted(points))
    assert max(line.get_ydata()) < min(points.values())  # a share of 0.8 of the gain is nearer than one of 0.6
    low, high = axes.get_ylim()
    assert low == 0.0 and high > max(points.values())


def test_a_policy_that_is_its_reference(tmp_path):
    # share 0: the policy is the reference, and what is missing is everything
    table = regret_table(2, share=0.0)
    reference = table["splits"]["train"]["scorers"]["gold"]["points"][0]["gold"]["reference"]
    regret = read(tmp_path, table)
    assert row_of(section(regret, []), "0.3 / 0.7")[3:5] == ["100.0", "0.000"]
    assert_allclose(np.array(offsets(drawn(regret, "regret"))[0])[:, 1], 100.0)
    plane = [points for points in offsets(drawn(regret, "regret-front")) if np.allclose(points, reference)]
    assert [len(points) for points in plane] == [1, 1]  # one mark of the policy, and the cross over it
    assert ("100.0 %", "mean regret, prompts of training") in tiles([regret])


def test_rows_for_more_objectives(tmp_path):
    regret = read(tmp_path, regret_table(4, limit=0.8))
    found, optimum = offsets(drawn(regret, "regret")), offsets(drawn(regret, "regret", 1))[1]
    order = np.lexsort(regret.preferences.T[::-1])
    rows = np.arange(len(order))
    judged = regret.judged["gold"]
    assert judged.limit is not None
    expected = [100 * judged.regret[order], 100 * judged.limit[order]]
    assert_allclose(found, [np.column_stack([values, rows]) for values in expected])
    assert_allclose(optimum, np.column_stack([judged.kl["optimum"][order], rows]))


@pytest.mark.parametrize(
    ("count", "panels"), [(1, {}), (2, {"": 2}), (3, {"-gold": 3, "-reward": 3}), (5, {"-gold": 5, "-reward": 5})]
)
def test_every_number_of_objectives_has_its_plates(tmp_path, count, panels):
    regret = read(tmp_path, regret_table(count, scorers=("gold", "reward")))
    plates = regret_plates(regret)
    assert {p.name: len(p.panels) for p in plates} == {f"regret-front{k}": n for k, n in panels.items()} | {"regret": 4}
    for plate in plates:
        for panel in plate.panels:
            assert panel.alt.endswith(".")
            panel.draw(Figure().add_subplot())
    assert section(regret, []).count("<table") == 2


def test_what_the_optimum_by_a_learned_reward_reaches_is_gold(tmp_path):
    table = regret_table(2, scorers=("gold", "reward"))
    found = offsets(drawn(read(tmp_path, table), "regret-front", 1))
    optimum = [p["gold"]["optimum"] for p in table["splits"]["train"]["scorers"]["reward"]["points"]]
    assert [points for points in found if len(points) == 11 and np.allclose(points, optimum)]


def test_percent():
    # a policy that is the optimum up to rounding has no negative regret
    assert [percent(v) for v in (0.0412, -1e-9, -0.02, 1.25, float("nan"))] == ["4.1", "0.0", "−2.0", "125.0", "–"]


def test_a_broken_regret_table_is_named(tmp_path):
    assert read_regret(tmp_path / "regret.json") == []
    table = regret_table(2)
    table["splits"]["train"]["scorers"]["gold"]["points"][1]["gold"]["policy"] = [0.1, 0.2, 0.3]
    with pytest.raises(InputError, match=r"regret\.json: splits\.train.*policy has 3 values where 2"):
        read(tmp_path, table)
    table = regret_table(2)
    del table["splits"]["train"]["scorers"]["gold"]["points"][0]["kl"]["optimum"]
    with pytest.raises(InputError, match=r"regret\.json.*optimum"):
        read(tmp_path, table)
    with pytest.raises(InputError, match=r"regret\.json: splits\.train\.prompts is missing"):
        read(tmp_path, regret_table(2) | {"splits": {"train": {"scorers": {}}}})
    table = regret_table(2)
    table["splits"]["train"]["scorers"]["gold"]["points"] = []
    with pytest.raises(InputError, match=r"regret\.json: splits\.train\.scorers\.gold\.points is empty"):
        read(tmp_path, table)
    table = regret_table(2, limit=0.9)
    table["splits"]["train"]["scorers"]["gold"]["limit"]["points"].pop()
    with pytest.raises(InputError, match=r"regret\.json: splits\.train\.scorers\.gold\.limit\.points has \d+ values"):
        read(tmp_path, table)


def test_the_end_of_a_command(tmp_path, capsys):
    table = regret_table(2, limit=0.8, scorers=("gold", "reward"))
    for judged in table["splits"]["train"]["scorers"].values():
        for part in (judged, judged["limit"]):
            regrets = [p["relative_regret"] for p in part["points"]]
            part["summary"] = {"relative_regret_mean": sum(regrets) / 11, "relative_regret_worst": max(regrets)}
            part["summary"]["relative_regret_worst_prompt"] = 0.25
    write_json(tmp_path / "tables" / "regret.json", table)
    conclude(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"run: {tmp_path}"
    found = [line.split() for line in lines if line.startswith(("0.", "1."))]
    assert [row[:2] for row in found] == [[f"{w:.2f}", f"{1 - w:.2f}"] for w in np.linspace(0, 1, 11)]
    point = table["splits"]["train"]["scorers"]["gold"]["points"][3]
    assert found[3][4:] == [
        f"{point['utility']['optimum']:.3f}",
        f"{point['relative_regret']:.1%}",
        f"{point['kl']['policy']:.2f}",
        f"{point['kl']['optimum']:.2f}",
    ]
    for name, judged in table["splits"]["train"]["scorers"].items():
        mean, worst = (f"{100 * judged['summary'][f'relative_regret_{s}']:.1f} %" for s in ("mean", "worst"))
        (line,) = [line for line in lines if line.startswith(f"regret by {name}, 1 prompts of training:")]
        assert f"mean {mean}, worst {worst}, worst prompt 25.0 % (class limit: mean " in line


def test_held_out_prompts_stand_apart_from_those_of_training(tmp_path, capsys, unfiled):
    """Two splits: a heading, figures, tables, tiles and terminal lines of each, under names that say which is which."""
    table, other = regret_table(2, share=0.9), regret_table(2, share=0.3)["splits"]["train"]
    table["splits"]["test"] = other | {"prompts": ["b a", "c b", "a c"]}
    for found in table["splits"].values():
        for judged in found["scorers"].values():
            regrets = [p["relative_regret"] for p in judged["points"]]
            judged["summary"] |= {"relative_regret_mean": sum(regrets) / 11, "relative_regret_worst": max(regrets)}
    write_json(tmp_path / "tables" / "regret.json", table)
    html = write_report(tmp_path, []).read_text(encoding="utf-8")
    trained, held_out = (f"{100 * table['splits'][s]['scorers']['gold']['summary']['relative_regret_mean']:.1f} %"
                         for s in ("train", "test"))  # fmt: skip
    assert trained != held_out
    head = html[: html.index("</header>")]
    for value, name in ((trained, "mean regret, prompts of training"), (held_out, "mean regret, held-out prompts")):
        assert f'<span class="value">{value}</span><span class="name">{name}</span>' in head
    assert "each of 1 prompts of training and 3 held-out prompts" in head
    assert html.index("<h3>Prompts of training (1)</h3>") < html.index("<h3>Held-out prompts (3)</h3>")
    stems = {path.stem for path in (tmp_path / "report" / "figures").iterdir()}
    assert stems == {"regret", "regret-front", "regret-held-out", "regret-front-held-out"}
    conclude(tmp_path)
    said = capsys.readouterr().out
    assert f"regret by gold, 1 prompts of training: mean {trained}" in said
    assert f"regret by gold, 3 held-out prompts: mean {held_out}" in said


def test_the_share_of_the_optimum_at_the_end_of_a_command(tmp_path, capsys):
    volumes = {"reached": 0.463, "optimum": 0.542}
    summary = {"utility_share_mean": 0.913, "utility_share_worst": 0.819, "hypervolume": volumes,
               "hypervolume_share": 0.854, "kl_mean": 2.161, "optimum_kl_mean": 3.0}  # fmt: skip
    table = {"kl_coef": 0.15, "split": "test", "prompts": 16, "samples": 4096, "ended": 0.97, "summary": summary}
    write_json(tmp_path / "tables" / "optimum.json", table)
    write_json(tmp_path / "tables" / "front.json", {})  # was measured before; not shown again
    conclude(tmp_path, "optimum")
    said = capsys.readouterr().out
    assert "16 held-out prompts x 4,096 answers" in said and "mean 91.3%, worst 81.9%" in said
    assert "0.463 of 0.542, 85.4%" in said and "2.16 of 3.00 nats" in said and "97.0% of the reference policy's" in said
