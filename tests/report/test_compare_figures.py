"""The figures of a comparison show the numbers of its tables, and methods can be told apart."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from tests.report.comparison import compare_table, read

from mora.records.compare import Comparison
from mora.report import markup, style
from mora.report.compare_figures import kl_curve_plates, kl_plates, shares_of_best, sweep_plates, win_rate_plates
from mora.report.compare_fronts import front_plates, matched_plates
from mora.report.marks import attained, weights_label
from mora.report.style import METHOD_COLORS, OBJECTIVE_COLORS, method_color, method_marker

# Vienot, Brettel and Mollon (1999) as matrices on linear RGB: red-green blindness for reds, and for greens.
BLIND = {
    "protanopia": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deuteranopia": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
}


def every_plate(comparison: Comparison) -> list[style.Plate]:
    makers = (front_plates, matched_plates, kl_curve_plates, kl_plates, sweep_plates, win_rate_plates)
    return [plate for make in makers for plate in make(comparison)]


def drawn(comparison: Comparison, name: str, panel: int = 0) -> Axes:
    """The axes of a panel of the plate ``name``, drawn."""
    (plate,) = [plate for plate in every_plate(comparison) if plate.name == name]
    axes = Figure().add_subplot(projection=plate.panels[panel].projection)
    plate.panels[panel].draw(axes)
    return axes


def marks(axes: Axes, index: int) -> dict[str, np.ndarray]:
    """The filled and the hollow marks (n, 2) of the method ``index``."""
    found: dict[str, list[np.ndarray]] = {"filled": [], "hollow": []}
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            faces, edges = (to_hex(c[0]) for c in (collection.get_facecolor(), collection.get_edgecolor()))
            if method_color(index) in (faces, edges):
                kind = "filled" if faces == method_color(index) else "hollow"
                found[kind].append(np.asarray(collection.get_offsets()))
    return {kind: np.concatenate([np.empty((0, 2)), *points]) for kind, points in found.items()}


def test_points_are_filled_or_hollow(tmp_path):
    table = compare_table(2, names=("row", "batch"))
    for p, point in enumerate(table["methods"][1]["points"]):
        point["dominated"] = p in (2, 5)
    comparison = read(tmp_path, table)
    axes = drawn(comparison, "fronts")
    scores = np.array([point["scores"] for point in table["methods"][1]["points"]])
    found = marks(axes, 1)
    assert_allclose(found["hollow"], scores[[2, 5]])
    assert_allclose(found["filled"], np.delete(scores, [2, 5], 0))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("cure", "care")
    labels = {key.label for plate in front_plates(comparison) for key in plate.key}
    assert labels == {"row", "batch", "hollow: dominated", "reference policy", "exact front"}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_method_that_is_not_steered_is_one_mark(tmp_path, count):
    table = compare_table(count, names=("row", "sft"))
    name = "fronts" if count == 2 else "fronts-pairs"
    found = marks(drawn(read(tmp_path, table), name), 1)
    assert_allclose(found["filled"], [table["methods"][1]["points"][0]["scores"][:2]])
    assert len(found["hollow"]) == 0


def test_seeds_are_thin_lines(tmp_path):
    table = compare_table(2, names=("row", "batch"), seeds=3)
    axes = drawn(read(tmp_path, table), "fronts")
    seeds = np.array(table["methods"][0]["fronts_by_seed"])
    thin = [np.asarray(line.get_xydata()) for line in axes.lines if line.get_linewidth() < 0.8]
    for seed in seeds:
        assert any(line.shape == seed.shape and np.allclose(line, seed) for line in thin)


def test_an_attainment_surface_is_a_staircase():
    # corners (1, 3), (2, 1): height 3 up to x = 1, 1 up to x = 2, nothing beyond
    corners = np.array([[1.0, 3.0], [2.0, 1.0]])
    assert attained(corners, np.array([0.0, 1.0, 1.5, 2.0, 2.5]), -9.0).tolist() == [3, 3, 1, 1, -9]


def test_a_band_lies_between_the_outer_surfaces(tmp_path):
    table = compare_table(2, names=("row", "sft"))
    low, high = [[0.0, 1.0], [1.0, 0.0]], [[1.0, 2.0], [2.0, 1.0]]
    table["methods"][0]["band"] = {"levels": [0.025, 0.5, 0.975], "surfaces": [high, high, low]}
    axes = drawn(read(tmp_path, table), "fronts")
    (band,) = [c for c in axes.collections if not isinstance(c, PathCollection) and c.get_alpha() == 0.16]
    # at x = 0.5 low attains 0 and high 2; at 1.5 low attains nothing and high 1; left of 0 low attains 1
    path = band.get_paths()[0]
    assert path.contains_points([[0.5, 0.1], [0.5, 1.9], [1.5, 0.9], [-0.05, 1.1]]).all()
    assert not path.contains_points([[0.5, -0.05], [0.5, 2.1], [1.5, 1.1], [-0.05, 0.9]]).any()


def test_the_matched_figure_shows_the_matched_points(tmp_path):
    table = compare_table(2, names=("row", "batch"))
    found = marks(drawn(read(tmp_path, table), "fronts-matched-kl"), 0)["filled"]
    assert_allclose(found, [point["at_matched_kl"] for point in table["methods"][0]["points"]])


def test_curves_show_the_numbers(tmp_path):
    table = compare_table(3, names=("row", "sft"))
    comparison = read(tmp_path, table)
    for panel, name in enumerate(("hypervolume", "inner_product")):
        axes = drawn(comparison, "kl-curve", panel)
        for line, method in zip(axes.lines, table["methods"], strict=True):
            assert_allclose(line.get_xdata(), table["kl_budgets"])
            assert_allclose(line.get_ydata(), method["kl_curve"][name])
    lines = drawn(comparison, "reference-point").lines
    volumes = np.array([table["sweep"]["hypervolumes"][name] for name in ("row", "sft")])
    assert_allclose([line.get_ydata() for line in lines], volumes / volumes.max(0))


def test_shares_of_nothing_are_unknown(tmp_path):
    table = compare_table(2, names=("row", "batch"))
    table["sweep"]["hypervolumes"] = {"row": [0.0, 2.0] + [4.0] * 9, "batch": [0.0, 1.0] + [4.0] * 9}
    shares = shares_of_best(read(tmp_path, table))
    assert np.isnan(shares[:, 0]).all() and shares[:, 1].tolist() == [1.0, 0.5] and (shares[:, 2:] == 1).all()


@pytest.mark.parametrize("count", [2, 3])
def test_kl_and_win_rates_are_those_of_the_preferences(tmp_path, count):
    comparison = read(tmp_path, compare_table(count, names=("row", "batch")))
    order = np.lexsort(comparison.preferences.T[::-1])
    for column, name in (("kl", "kl"), ("win_rate", "win-rate")):
        values = comparison.methods[1].columns[column]
        found = marks(drawn(comparison, name), 1)["filled"]
        if count == 2:
            assert_allclose(found, np.column_stack([comparison.preferences[order, 0], values[order]]))
        else:
            assert_allclose(found[:, 0], values[order[::-1]])
            assert_allclose(np.diff(found[:, 1]), 1.0)  # a row per preference


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_the_key_lies_above_the_panels_and_inside_the_figure(tmp_path, count):
    names = ("row", "a name that is much longer than any other", "batch", "panacea unit=group, seed 3", "sft")
    comparison = read(tmp_path, compare_table(count, names=names))
    for plate in every_plate(comparison):
        columns = min(plate.columns, len(plate.panels))
        with style._figure(plate.panels[:columns], columns, plate.name, plate.key) as figure:
            figure.draw_without_rendering()
            renderer = figure._get_renderer()
            boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
            assert all(box.x0 >= -1 and box.y0 >= -1 for box in boxes)
            for legend in figure.legends:
                place = legend.get_window_extent(renderer)
                assert place.x0 >= 0 and place.x1 <= figure.bbox.x1 and place.y1 <= figure.bbox.y1
                assert not any(place.overlaps(box) for box in boxes)
            assert bool(figure.legends) == bool(plate.key)


def seen(color: str, blindness: str | None) -> np.ndarray:
    """A color in OKLab, as seen with a color blindness."""
    rgb = np.array(to_rgb(color))
    if blindness:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.array(BLIND[blindness]).T
        linear = linear.clip(0, 1)
        rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return style._to_oklab(rgb)


def test_methods_differ_in_color_and_shape():
    dark = re.findall(r"--method-\d: (#\w+)", Path(markup.__file__).with_name("page.css").read_text())[8:]
    for palette, least in ((METHOD_COLORS, 0.07), (dark, 0.045)):
        assert len(palette) == 8
        for blindness in (None, *BLIND):
            gaps = [
                np.linalg.norm(seen(a, blindness) - seen(b, blindness)) for a, b in itertools.combinations(palette, 2)
            ]
            assert min(gaps) > least, blindness
    assert min(np.linalg.norm(seen(a, None) - seen(b, None)) for a in METHOD_COLORS for b in OBJECTIVE_COLORS) > 0.07
    assert len({(method_color(i), method_marker(i)) for i in range(56)}) == 56


def test_preferences_have_names():
    names = ("cure", "care", "brief")
    assert weights_label(np.array([0.0, 1.0, 0.0]), names) == "care alone"
    assert weights_label(np.full(3, 1 / 3), names) == "balanced"
    assert weights_label(np.array([0.25, 0.0, 0.75]), names) == "0.25 cure + 0.75 brief"
