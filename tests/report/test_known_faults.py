"""Faults of tests/mutation that nothing else would notice: figures show the numbers that their axes name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from mora.records.front import Front, Point
from mora.report.fronts import plane_plate
from mora.report.steering import steering_plates
from mora.report.style import Plate

PREFERENCES = np.array([[0.9, 0.1], [0.4, 0.6], [0.0, 1.0]])
SCORES = np.array([[1.0, 0.2], [0.7, 0.5], [0.3, 0.8]])
ERRORS = np.array([[0.01, 0.02], [0.03, 0.04], [0.05, 0.06]])
KL = np.array([2.0, 1.5, 2.5])
REFERENCE = np.array([0.25, 0.1])


@pytest.fixture
def front() -> Front:
    rows = zip(PREFERENCES, SCORES, ERRORS, KL, strict=True)
    return Front(
        run="run",
        model="tiny",
        judge="gold",
        split="test",
        objectives=("first", "second"),
        points=tuple(Point(preference=w, gold=s, gold_stderr=e, kl=kl, kl_stderr=0.1) for w, s, e, kl in rows),
        start=Point(gold=REFERENCE),
    )


def drawn(plate: Plate) -> Iterator[Axes]:
    """Each panel of a plate on axes of its own."""
    for panel in plate.panels:
        axes = Figure().add_subplot()
        panel.draw(axes)
        yield axes


def has_points(axes: Axes, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether the points (x, y) are marks of the figure, all of them."""
    marks = [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]
    found = np.concatenate([m for m in marks if len(m)])
    return all(np.isclose(found, point).all(1).any() for point in np.stack([x, y], 1))


def bars(axes: Axes, direction: int) -> np.ndarray:
    """Lengths of the interval bars along the x axis (0) or the y axis (1), without those that lie across."""
    segments = [s for c in axes.collections if isinstance(c, LineCollection) for s in c.get_segments()]
    lengths = np.array([np.abs(np.diff(s, axis=0)[0]) for s in segments])
    return np.sort(lengths[lengths[:, 1 - direction] < 1e-12, direction])


def test_steering_is_drawn_as_score_against_the_weight_of_the_same_objective(front):
    for index, axes in enumerate(drawn(steering_plates(front)[0])):
        assert axes.get_xlabel() == f"weight on {front.objectives[index]}"
        assert has_points(axes, PREFERENCES[:, index], SCORES[:, index])
        assert bars(axes, 1) == pytest.approx(2 * 1.96 * np.sort(ERRORS[:, index]), rel=1e-3)


def test_the_price_of_steering_is_the_gain_in_utility_at_each_preference(front):
    """By hand for the first: .9 (1 - .25) + .1 (.2 - .1) = .685."""
    axes = list(drawn(steering_plates(front)[1]))[1]
    gain = ((SCORES - REFERENCE) * PREFERENCES).sum(1)
    assert gain[0] == pytest.approx(0.685)
    assert has_points(axes, KL, gain)


def test_a_front_of_two_objectives_has_the_first_across_and_the_second_up(front):
    (axes,) = drawn(plane_plate(front))
    assert axes.get_xlabel().startswith("first") and axes.get_ylabel().startswith("second")
    assert has_points(axes, SCORES[:, 0], SCORES[:, 1]) and has_points(axes, REFERENCE[:1], REFERENCE[1:])
    assert bars(axes, 0) == pytest.approx(2 * 1.96 * np.sort(ERRORS[:, 0]), rel=1e-3)
    assert bars(axes, 1) == pytest.approx(2 * 1.96 * np.sort(ERRORS[:, 1]), rel=1e-3)
