"""What figures of a comparison show: its points, references and exact front, how far the axes go, and the words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mora.records.compare import Comparison, Method
from mora.records.read import Floats
from mora.report.marks import SAME, Rows, method_keys, weights_label
from mora.report.style import INK, MUTED, Key, method_color

ONE_MARK = "A method that is not steered is one policy, hence one mark. "
Limits = tuple[Floats, Floats]  # the least and the greatest score (M,) of a figure


def shown_points(method: Method) -> tuple[Rows, NDArray[np.bool_]]:
    """The rows (n,) of a method's points that a figure shows, and which of them (n,) are dominated.

    A method that is not steered is one policy, so one mark.
    """
    rows = np.flatnonzero(np.isfinite(method.scores).all(1))
    if not method.steered:
        return rows[:1], np.zeros(len(rows[:1]), dtype=bool)
    return rows, method.dominated[rows]


def references(comparison: Comparison) -> list[tuple[Floats, str]]:
    """The distinct reference policies as (scores (M,), color): ink for one alone, else that of the method."""
    found: list[tuple[Floats, str]] = []
    for index, method in enumerate(comparison.methods):
        scores = method.reference.scores
        if np.isfinite(scores).all() and not any(np.allclose(scores, other, atol=SAME) for other, _ in found):
            found.append((scores, method_color(index)))
    return [(found[0][0], INK)] if len(found) == 1 else found


def exact_points(comparison: Comparison) -> Floats:
    """The exact front (F, M), which figures of two and three objectives show; none for more, or unknown."""
    width = len(comparison.objectives)
    return comparison.world.front if comparison.world and width < 4 else np.empty((0, width))


def own_limits(comparison: Comparison) -> Limits:
    """The view of methods at their own KL, with bars, seeds and bands."""
    width, found = len(comparison.objectives), []
    for method in comparison.methods:
        rows, _ = shown_points(method)
        bar = np.nan_to_num(method.margins[rows])
        found += [method.scores[rows] - bar, method.scores[rows] + bar, method.by_seed.reshape(-1, width)]
        found += [surface for surface in method.band.surfaces] if method.band and width == 2 else []
    low, high = _view(comparison, found)
    z, room = comparison.reference_point, 0.2 * (high - low)
    if width == 2 and np.isfinite(z).all() and (z > low - room).all():  # a little more shows the reference point
        low = np.minimum(low, z - 0.15 * room)
    return low, high


def matched_limits(comparison: Comparison) -> Limits:
    """The view of methods at matched KL."""
    return _view(comparison, [method.matched for method in comparison.methods])


def _view(comparison: Comparison, found: list[Floats]) -> Limits:
    """The view of what was ``found`` (n, M) and the references.

    The exact front widens it by half of it on either side at most, if most of it is seen then.
    """
    width = len(comparison.objectives)
    every = np.vstack([np.empty((0, width)), *found, *[scores[None] for scores, _ in references(comparison)]])
    every = every[np.isfinite(every).all(1)]
    if len(every) == 0:
        return np.zeros(width), np.ones(width)
    low, high = every.min(0), every.max(0)
    room, front = 0.5 * (high - low), exact_points(comparison)
    near = front[((front > low - room) & (front < high + room)).all(1)]
    if 2 * len(near) > len(front):
        low, high = np.minimum(low, near.min(0)), np.maximum(high, near.max(0))
    margin = 0.05 * np.maximum(high - low, 1e-6)
    return low - margin, high + margin


def z_in_view(comparison: Comparison) -> bool:
    """Whether the reference point of two objectives lies within their view."""
    (low, high), z = own_limits(comparison), comparison.reference_point
    return bool((np.isfinite(z) & (z > low) & (z < high)).all())


# --- words -----------------------------------------------------------------------------------------------------------


def units(comparison: Comparison) -> str:
    """What the scores are measured in, as the end of a caption."""
    return f"Scores in {comparison.unit}, 0 is its mean."


def one_mark(comparison: Comparison) -> str:
    """Says why a method has a single mark, where one has."""
    return "" if all(method.steered for method in comparison.methods) else ONE_MARK


def point_keys(comparison: Comparison, limits: Limits | None = None) -> list[Key]:
    """Methods, what a hollow mark is, the reference policy, and the exact front where it lies within ``limits``."""
    keys = method_keys(comparison)
    if any(shown_points(method)[1].any() for method in comparison.methods):
        keys.append(Key(label="hollow: dominated", color=MUTED, marker="o", hollow=True))
    if references(comparison):
        keys.append(Key(label="reference policy", color=INK, marker="X"))
    front, plane = exact_points(comparison), len(comparison.objectives) == 2
    if limits and ((front >= limits[0]) & (front <= limits[1])).all(1).any():
        keys.append(Key(label="exact front", color=MUTED, line=":" if plane else "", marker="" if plane else "."))
    return keys


def spoken(comparison: Comparison) -> str:
    """What each method reaches at the extreme preferences, in words, for alternative texts."""

    def reached(method: Method, row: int) -> str:
        return ", ".join(f"{o} {v:.2f}" for o, v in zip(comparison.objectives, method.scores[row], strict=True))

    parts = []
    for method in comparison.methods:
        if not method.steered:
            parts.append(f"{method.name}, one policy: {reached(method, 0)}")
            continue
        ends = dict.fromkeys(int(column.argmax()) for column in comparison.preferences.T)
        labels = [weights_label(comparison.preferences[row], comparison.objectives) for row in ends]
        said = [f"at {label}: {reached(method, row)}" for label, row in zip(labels, ends, strict=True)]
        parts.append(f"{method.name} {'; '.join(said)}")
    return ". ".join(parts)
