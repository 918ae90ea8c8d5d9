"""Figures of the reward model show the numbers that their axes name."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest

from mora.errors import InputError
from mora.files import read_json, write_json, write_lines
from mora.functional.stats import share_interval
from mora.records.quality import RewardQuality
from mora.records.read import record
from mora.records.sections import Benchmark
from mora.report.benchmark import benchmark_plates
from mora.report.bins import pooled
from mora.report.hard_cases import conflict_plate, conflict_table, hard_case_plate
from mora.report.rewards import reward_plates
from mora.report.run import write_report
from mora.report.style import Z95, objective_color
from mora.report.tables import read_stage
from mora.report.training import quality_plate

NAMES = ["cure", "care", "brief"]


def drawn(plate) -> list[Axes]:
    """Each panel of a plate on axes of its own."""
    found = []
    for panel in plate.panels:
        found.append(Figure().add_subplot())
        panel.draw(found[-1])
    return found


@pytest.fixture
def table(make, tmp_path):
    write_json(tmp_path / "reward.json", make.reward(3))
    return read_json(tmp_path / "reward.json")  # NaN has become null


def quality(table) -> RewardQuality:
    return record({"objectives": NAMES} | table, RewardQuality, "reward.json")


def curve(axes: Axes, color: str, style: str) -> np.ndarray:
    (line,) = [one for one in axes.lines if one.get_color() == color and one.get_linestyle() == style]
    return np.asarray(line.get_ydata())


def test_hard_cases_go_from_sure_to_doubtful_by_margin_and_by_spread(table):
    accuracy, ece, spreads = drawn(hard_case_plate(quality(table), NAMES))
    for index, name in enumerate(NAMES):
        entry, color = table["spread"][name], objective_color(index)
        by_margin = [row["accuracy"] for row in entry["margin_bins"]][::-1]  # the largest margin is the surest
        assert curve(accuracy, color, "-").tolist() == by_margin and by_margin[0] > by_margin[-1]
        assert curve(accuracy, color, ":").tolist() == [row["accuracy"] for row in entry["bins"]]
        assert curve(ece, color, ":").tolist() == [row["calibration_error"] for row in entry["bins"]]
        assert curve(spreads, color, ":").tolist() == [row["true_spread"] for row in entry["bins"]]
    assert "0.25" in spreads.get_legend().get_texts()[0].get_text()


def test_bins_of_few_pairs_are_joined_and_no_more():
    rows = [{"count": 10, "accuracy": i / 10, "ece": 0.1, "spread": np.nan if i == 3 else float(i)} for i in range(10)]
    found = pooled(rows, ("accuracy", "spread"))
    assert [row["count"] for row in found] == [20] * 5
    assert [row["accuracy"] for row in found] == pytest.approx([0.05, 0.25, 0.45, 0.65, 0.85])
    assert [row["spread"] for row in found] == pytest.approx(
        [0.5, np.nan, 4.5, 6.5, 8.5], nan_ok=True
    ) and "ece" not in found[0]
    odd = [{"count": 9 if i < 5 else 8, "accuracy": 0.5} for i in range(10)]
    assert [row["count"] for row in pooled(odd, ("accuracy",))] == [36, 25, 24]
    uneven = pooled([{"count": 1, "accuracy": 1.0}, {"count": 3, "accuracy": 0.0}], ("accuracy",))
    assert uneven == [{"count": 4, "accuracy": 0.25}] and pooled([], ("accuracy",)) == []
    assert pooled([{"count": 20, "accuracy": 0.5}] * 3, ("accuracy",)) == [{"count": 20, "accuracy": 0.5}] * 3


@pytest.mark.parametrize(("right", "count"), [(0, 20), (13, 20), (20, 20), (700, 1000)])
def test_intervals_of_shares_are_wilsons(right, count):
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert share_interval(right / count, float(count), Z95) == pytest.approx((expected.low, expected.high), abs=1e-6)


def bars(axes: Axes) -> list[np.ndarray]:
    return [segment for group in axes.collections for segment in group.get_segments()]


def test_few_pairs_have_few_marks_with_intervals_and_no_calibration_error(table):
    for entry in table["spread"].values():
        for rows in (entry["bins"], entry["margin_bins"]):
            for row in rows:
                row["count"] = 10
    plate = hard_case_plate(quality(table), NAMES)
    assert [panel.alt.partition(" ")[0] for panel in plate.panels] == ["Accuracy", "Annotators'"]
    accuracy, _ = drawn(plate)
    by_margin = [row["accuracy"] for row in table["spread"]["cure"]["margin_bins"]][::-1]
    marks = curve(accuracy, objective_color(0), "-")
    assert marks == pytest.approx([sum(by_margin[i : i + 2]) / 2 for i in range(0, 10, 2)])
    assert len(bars(accuracy)) == 6 * 5
    for low, mark in zip(bars(accuracy)[:5], marks, strict=True):
        assert tuple(low[:, 1]) == pytest.approx(share_interval(float(mark), 20.0, Z95))
    places = [line.get_xdata()[0] for line in accuracy.lines if len(line.get_xdata()) == 5]
    assert len({round(float(place), 6) for place in places}) == 6  # beside each other


def test_a_calibration_curve_of_few_pairs(table):
    for entry in table["calibration"].values():
        entry["bins"] = [row | {"count": 7, "confidence": 0.5 + row["confidence"] / 100} for row in entry["bins"]]
    _, calibration = drawn(
        reward_plates(quality({"calibration": table["calibration"], "accuracy": table["accuracy"]}), None, [])[0]
    )
    assert len(curve(calibration, objective_color(0), "-")) == 2 and len(bars(calibration)) == 3 * 2
    assert calibration.get_xlim()[1] < 0.7  # what is stated fills the axes


def test_a_point_has_its_margin_alone(table):
    for entry in table["spread"].values():
        entry["bins"] = []
    plate = hard_case_plate(quality(table), NAMES)
    assert len(plate.panels) == 2 and [key.label for key in plate.key] == ["by margin"]
    assert hard_case_plate(quality({}), NAMES) is None


def test_matrices_have_each_number_in_its_cell(table):
    for axes, key in zip(
        drawn(conflict_plate(quality(table))), ("conflict_rate", "predicted_rate", "joint_accuracy"), strict=False
    ):
        cells = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
        for (row, column), shown in cells.items():
            assert shown == f"{table['conflicts'][key][row][column]:.2f}"
        assert len(cells) == 9 and [t.get_text() for t in axes.get_yticklabels()] == NAMES


def test_the_table_of_conflicts_has_a_row_per_two_objectives(table):
    html = conflict_table(quality(table))
    assert len(re.findall(r"<th scope=.row.>", html)) == 3
    assert f"{table['conflicts']['recall'][0][2]:.3f}" in html
    assert f"{table['conflicts']['all_right']['value']:.1%} of 400 pairs" in html


def test_one_objective_conflicts_with_nothing(make, table):
    alone = {key: [row[:1] for row in value[:1]] for key, value in table["conflicts"].items() if key != "all_right"}
    alone = {"conflicts": alone | {"objectives": ["cure"], "all_right": table["conflicts"]["all_right"]}}
    assert conflict_plate(quality(alone)) is None and conflict_table(quality(alone)) == ""
    assert conflict_plate(quality({})) is None


def test_quality_while_training_by_step(make, tmp_path):
    write_lines(tmp_path / "tables" / "quality.jsonl", make.quality(NAMES))
    stage = read_stage("reward model", tmp_path)
    plate = quality_plate(stage, NAMES)
    accuracy, log_loss, _ = drawn(plate)
    for index in range(3):
        line = next(one for one in accuracy.lines if one.get_color() == objective_color(index))
        assert line.get_xdata().tolist() == [20, 40, 60]
        assert line.get_ydata() == pytest.approx([0.6 + 0.01 * index, 0.7 + 0.01 * index, 0.8 + 0.01 * index])
    assert plate.panels[1].alt.startswith("Log-loss") and set(log_loss.lines[0].get_ydata()) == {0.6}
    write_lines(tmp_path / "tables" / "quality.jsonl", make.quality(NAMES)[:1])
    assert quality_plate(read_stage("reward model", tmp_path), NAMES) is None  # one point is no curve
    assert quality_plate(None, NAMES) is None


def test_a_damaged_quality_file_is_named(tmp_path):
    for line in ({"step": 1}, {"step": 1, "quality": {"cure": 0.5}}, [1]):
        write_lines(tmp_path / "tables" / "quality.jsonl", [line])
        with pytest.raises(InputError, match=r"quality\.jsonl(:1 holds| is not a list of measurements)"):
            read_stage("reward model", tmp_path)


def test_a_reward_run_that_is_still_training_shows_its_quality(make, tmp_path, undrawn):
    run = tmp_path / "reward_model-x"
    write_lines(run / "tables" / "quality.jsonl", make.quality(["cure", "care"]))
    text = write_report(run, []).read_text(encoding="utf-8")
    assert '<section id="reward">' in text and "Quality while it was trained" in text


def benchmark(**parts) -> Benchmark:
    rest = {"path": "rows", "rows": 4, "level": 0.95, "judge": {}, "final": parts["sections"][0], "notes": []}
    return record(rest | parts, Benchmark, "sections.json")


def test_subsets_stand_below_their_sections():
    def entry(**more):
        return {"strict": 0.5, "strict_interval": None, "shared": 0.5, "shared_interval": None, "n": 4} | more

    table = {
        "sections": [entry(section="Chat", shared=0.75, shared_interval=[0.5, 0.9]), entry(section="odd", shared=0.25)],
        "subsets": [
            entry(section="Chat", subset="easy", shared=0.9, weight=4),
            entry(section="Chat", subset="hard", shared=0.6, weight=4),
            entry(section="odd", subset="odd", shared=0.25, weight=4),
        ],
    }
    (axes,) = drawn(benchmark_plates(benchmark(**table))[0])
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["Chat", "easy (4)", "hard (4)", "odd"]  # a subset that is its section stands once
    marks = {round(c[0].get_ydata()[0]): c[0].get_xdata()[0] for c in axes.containers}
    assert marks == {0: 0.75, 1: 0.9, 2: 0.6, 3: 0.25}
    ends = [container[2][0].get_segments()[0][:, 0] for container in axes.containers]
    assert ends[0] == pytest.approx([0.5, 0.9]) and ends[1] == pytest.approx([0.9, 0.9])


def test_a_mark_at_the_end_of_the_scale_is_seen_whole():
    entry = {"strict": 1.0, "strict_interval": None, "shared_interval": None, "n": 4, "weight": 4}
    ends = [entry | {"section": name, "subset": name, "shared": value} for name, value in (("all", 1.0), ("none", 0.0))]
    plate = benchmark_plates(benchmark(sections=ends, subsets=ends))[0]
    figure = Figure(figsize=plate.panels[0].size)
    axes = figure.add_axes((0.2, 0.2, 0.7, 0.7))
    plate.panels[0].draw(axes)
    frame = axes.get_window_extent()
    for container in axes.containers:
        mark = container[0]
        place = axes.transData.transform((mark.get_xdata()[0], 0))[0]
        half = mark.get_markersize() / 2 * np.sqrt(2) * figure.dpi / 72  # a diamond is a square on its corner
        assert frame.x0 <= place - half and place + half <= frame.x1
