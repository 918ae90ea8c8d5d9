"""HTML from the templates of this package, in which every value is text: escaped, its control characters visible."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from markupsafe import Markup
from matplotlib.markers import MarkerStyle

from mora.errors import visible
from mora.records.front import SPLIT_NAMES
from mora.report.fronts import SCORER_NAMES
from mora.report.style import (
    Key,
    Panel,
    Plate,
    css_variables,
    inline_svg,
    method_color,
    method_marker,
    number,
    preference_label,
)
from mora.turns import readable


def fill(template: str, **values: Any) -> Markup:
    """The template with its values.  Raises ``LookupError`` where it asks a table for what it lacks."""
    try:
        return Markup(TEMPLATES.get_template(template).render(values))
    except UndefinedError as error:
        raise LookupError(error.message) from error


def macros(template: str) -> Any:
    """The macros of a template as functions that give HTML."""
    return TEMPLATES.get_template(template).module


def shown(value: Any) -> Any:
    """What a page shows of a value: HTML as it is, of anything else the text that no browser obeys."""
    return value if hasattr(value, "__html__") else visible(str(value)).encode("utf-8", "replace").decode("utf-8")


def decimals(values: Iterable[float]) -> int:
    """How many decimals numbers need beside the largest of them: three for 0.01 to 10, none from 1,000 on, six at most.

    Numbers that are compared share their decimals.
    """
    most = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    size = math.floor(math.log10(most)) if most > 0.0 else 0
    return max(3 - size, 0) if size > 0 else 3 if size > -3 else min(1 - size, 6)


def written(value: float, digits: int) -> str:
    """A number with ``digits`` decimals and its thousands separated; never a negative zero."""
    if not math.isfinite(value):
        return number(value)
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def _method_key(name: str, index: int) -> Key:
    return Key(label=name, color=method_color(index), marker=method_marker(index))


def _outline(marker: str) -> str:
    """The corners of a mark in a picture of 26 by 14."""
    style = MarkerStyle(marker)
    corners = style.get_path().transformed(style.get_transform()).to_polygons()[0]
    return " ".join(f"{13 + 9 * x:.1f},{7 - 9 * y:.1f}" for x, y in np.asarray(corners, dtype=float))


def _svg(panel: Panel, name: str) -> Markup:
    return Markup(inline_svg(panel, name))


def _width(plate: Plate) -> int:
    return round(max(panel.size[0] for panel in plate.panels) * 72)


def _neighbors(plates: Sequence[Plate]) -> list[list[Plate]]:
    """Plates of one panel that follow each other stand in a group, any other one alone."""
    groups: list[list[Plate]] = []
    for plate in plates:
        if groups and len(plate.panels) == len(groups[-1][-1].panels) == 1:
            groups[-1].append(plate)
        else:
            groups.append([plate])
    return groups


TEMPLATES = Environment(
    loader=PackageLoader("mora.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=shown,
)
TEMPLATES.globals |= {
    "decimals": decimals,
    "isfinite": math.isfinite,
    "json": partial(json.dumps, ensure_ascii=False),
    "method_key": _method_key,
    "neighbors": _neighbors,
    "number": number,
    "outline": _outline,
    "preference_label": preference_label,
    "readable": readable,
    "scorer_names": SCORER_NAMES,
    "splits": SPLIT_NAMES,
    "svg": _svg,
    "variable": css_variables().get,
    "width": _width,
    "written": written,
    "zip": partial(zip, strict=False),
}
TEMPLATES.filters |= {"number": number, "written": written}
