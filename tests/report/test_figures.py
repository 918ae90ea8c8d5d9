from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose

from mora.files import write_json, write_lines
from mora.functional.pareto import default_grid, simplex_lattice
from mora.report.fronts import keep
from mora.report.marks import lattice_edges
from mora.report.rewards import MOST_POINTS, correlation, reward_plates, sampled_agreement, thin
from mora.report.style import OBJECTIVE_COLORS, number, objective_color, preference_colors, preference_label
from mora.report.tables import read_front, read_stage
from mora.report.training import grouped, running_mean


def lightness(color: str) -> float:
    """CIE lightness L* of a color, 0 to 100."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], channels))
    return 116 * luminance ** (1 / 3) - 16


def test_the_report_imports_no_model_code():
    code = "import sys, mora.report.run; print([m for m in ('torch', 'transformers', 'hydra') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_weights_of_two_objectives_get_evenly_lighter_colors():
    levels = np.array([lightness(c) for c in preference_colors(simplex_lattice(2, 10))])
    steps = np.diff(levels)
    assert (steps > 0).all()
    assert steps.max() / steps.min() < 2


@pytest.mark.parametrize("objectives", [3, 5, 8])
def test_a_vertex_has_the_color_of_its_objective(objectives):
    colors = preference_colors(np.eye(objectives))
    assert colors == [objective_color(i) for i in range(objectives)] == list(OBJECTIVE_COLORS[:objectives])


def test_objectives_differ_from_each_other_and_from_the_paper():
    assert len(set(OBJECTIVE_COLORS)) == 8
    assert all(lightness(color) < 62 for color in OBJECTIVE_COLORS)  # at least 3:1 against white


def test_labels():
    assert preference_label([0.25, 0.75]) == "0.25 / 0.75"
    assert preference_label([1.0, 0.0]) == "1 / 0"
    assert preference_label([1 / 3] * 3) == "0.33 / 0.33 / 0.33"
    assert [number(v) for v in (-0.5, None, float("nan"))] == ["−0.500", "–", "–"]


def test_lattice_edges_join_neighbors_only():
    # a triangle with two divisions: 6 points, 9 edges; the default grid's center stands alone
    assert len(lattice_edges(simplex_lattice(3, 2))) == 9
    grid = default_grid(3)
    edges = lattice_edges(grid)
    assert len(edges) == 3 * 5 * 6 // 2
    assert not [edge for edge in edges if len(grid) - 1 in edge]


def test_dominated_and_missing_points_are_hollow(make, tmp_path):
    table = make.front(2)
    table["points"][2]["gold"] = [-5.0, -5.0]
    table["points"][4]["gold"] = None
    table["points"][0]["gold"] = table["points"][-1]["gold"]
    write_json(tmp_path / "front.json", table)
    front = read_front(tmp_path / "front.json")
    assert not keep(front, "gold")[[2, 4]].any()
    assert keep(front, "gold")[[0, -1]].all()  # equal points do not dominate each other
    assert np.isnan(front.scores["gold"][4]).all()
    assert front.shown == ["gold", "reward"]


def test_running_mean_by_hand():
    # windows of three: (1,2) (1,2,6) (2,6) where the NaN is left out, (6,8) and (8) with their ends
    assert_allclose(running_mean(np.array([1.0, 2.0, 6.0, np.nan, 8.0]), 3), [1.5, 3.0, 4.0, 7.0, 8.0])


def test_metrics_of_all_objectives_share_a_panel(make, tmp_path):
    write_lines(tmp_path / "metrics.jsonl", make.metrics(["cure", "care"], 5))
    panels = dict(grouped(read_stage("panacea", tmp_path), ["cure", "care"]))
    assert list(panels)[:3] == ["gold", "reward", "gain"]
    assert {label: color for label, (color, _) in panels["reward"].items()} == {
        "cure": objective_color(0),
        "care": objective_color(1),
    }
    assert "time/step" not in panels and list(panels["kl"]) == [""]


def test_a_metric_of_all_objectives_is_named_and_costs_are_no_curves(tmp_path):
    rows = [
        {"step": i, "loss": 1.4, "loss/cure": 0.6, "loss/care": 0.8, "kl": 0.1, "spent/trained_tokens": 9.0}
        for i in (1, 2)
    ]
    write_lines(tmp_path / "metrics.jsonl", rows)
    panels = dict(grouped(read_stage("reward_model", tmp_path), ["cure", "care"]))
    assert set(panels) == {"loss", "kl"} and list(panels["kl"]) == [""]
    assert set(panels["loss"]) == {"sum", "cure", "care"} and panels["loss"]["sum"][1][1].tolist() == [1.4, 1.4]


def test_a_step_logged_twice_counts_once(tmp_path):
    write_lines(tmp_path / "metrics.jsonl", [{"step": 1, "kl": 1.0}, {"step": 2, "kl": 5.0}, {"step": 2, "kl": 2.0}])
    steps, values = read_stage("x", tmp_path).metrics["kl"]
    assert (steps.tolist(), values.tolist()) == ([1, 2], [1, 2])


def test_correlation_and_agreement():
    assert correlation(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])) == "1.00"
    assert correlation(np.array([[0.0, 1.0], [1.0, 1.0]])) == "undefined"
    rows = [
        {"preference": [1, 0], "gold": [1, 2], "reward": [3, 4]},
        {"preference": [0, 1], "gold": None, "reward": [5, 6]},
    ]
    found = sampled_agreement(rows, ["cure", "care"])
    assert found["cure"].tolist() == [[3, 1]] and found["care"].tolist() == [[4, 2]]


def test_a_long_scatter_is_thinned_evenly():
    rows = np.arange(6144.0)
    shown = thin(rows)
    assert len(shown) == MOST_POINTS == 600 and (shown[0], shown[-1]) == (0.0, 6133.0)  # 599 * 10.24 = 6133.8
    assert set(np.diff(shown)) == {10.0, 11.0}
    assert len(set(shown % 8)) == 8  # all samples of a prompt, not always the same one
    assert thin(rows[:600]).tolist() == rows[:600].tolist()


def test_a_thinned_scatter_says_so(make, tmp_path):
    write_json(tmp_path / "front.json", make.front(2))
    front = read_front(tmp_path / "front.json")
    for count, said in ((600, False), (601, True)):
        rows = [{"preference": [1, 0], "gold": [k, 2 * k], "reward": [k, -k]} for k in range(count)]
        (plate,) = reward_plates(None, front, rows)
        assert ("600 of 601 answers" in plate.caption) == said
