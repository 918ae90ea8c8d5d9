"""How figures look, and how a panel becomes an inline SVG, and a plate of panels PNG and PDF files.

Figures are drawn in the light palette.  In the page, the colors of ink, paper and objectives become CSS variables, so
the same drawing follows a dark page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mora.files import write_bytes

Floats = NDArray[np.float64]
Line = Literal["", "-", ":"]  # no line, a full one, a dotted one

INK, MUTED, GRID, PAPER = "#1a1d21", "#6a7079", "#e3e6ea", "#fefefe"
OBJECTIVE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#c2649a", "#a67c00", "#7a5195", "#4793c9", "#707070")
METHOD_COLORS = ("#2b0f9e", "#d1566a", "#716800", "#6a74f2", "#6f2700", "#a04177", "#a378bc", "#3a55b8")
METHOD_MARKERS = ("o", "s", "^", "D", "v", "P", "h")  # seven for eight colors: 56 methods have looks of their own
WEIGHT_STEPS = 64
PANEL_SIZE = (4.4, 3.5)  # inches
Z95 = 1.959964  # half width of a 95 % interval, in standard errors

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "path.simplify": True,
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes: ``draw`` fills it, ``alt`` says in words what there is to see."""

    draw: Callable[[Axes], None]
    alt: str
    projection: str | None = None
    size: tuple[float, float] = PANEL_SIZE  # inches


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of the key of a whole figure: the look that ``label`` names."""

    label: str
    color: str
    marker: str = ""
    line: Line = ""  # for entries that are lines
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Plate:
    """One figure: panels that belong together.  ``name`` is the stem of its files; ``key`` is for all panels."""

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    columns: int = 3
    key: Sequence[Key] = ()


def objective_color(index: int) -> str:
    """The color of an objective, the same in every figure; it repeats after eight."""
    return OBJECTIVE_COLORS[index % len(OBJECTIVE_COLORS)]


def method_color(index: int) -> str:
    """The color of a compared method, the same in every figure, unlike those of objectives; it repeats after eight."""
    return METHOD_COLORS[index % len(METHOD_COLORS)]


def method_marker(index: int) -> str:
    """The shape of a compared method's marks, so that color is not all that tells methods apart."""
    return METHOD_MARKERS[index % len(METHOD_MARKERS)]


def short(label: str, most: int = 32) -> str:
    """A label that fits a figure: a long one is cut."""
    return label if len(label) <= most else f"{label[: most - 1]}…"


def weight_map(dark: bool = False) -> ListedColormap:
    """The color map of the weight on the first of two objectives: viridis without the end that the paper hides."""
    span = (0.3, 1.0) if dark else (0.0, 0.94)
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(*span, WEIGHT_STEPS)), name="weight")


def weight_variables(dark: bool) -> str:
    """The color map as CSS variables, for a light or a dark page."""
    colors = weight_map(dark)(np.arange(WEIGHT_STEPS))
    return "".join(f"--weight-{step}:{to_hex(color)};" for step, color in enumerate(colors))


_TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                    [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
_TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                    [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip


def _to_oklab(rgb: Floats) -> Floats:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T)


def _from_oklab(lab: Floats) -> Floats:
    linear = np.clip((lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T, 0.0, 1.0)
    return np.clip(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055), 0.0, 1.0)


def preference_colors(preferences: Floats) -> list[str]:
    """One color per preference (P, M): viridis along the weight for two objectives, else the mix of objective colors.

    The mix is linear in OKLab (Ottosson, 2020), so equal steps of a weight are about equal steps to the eye, and a
    balanced preference is gray.
    """
    if preferences.shape[1] <= 2:
        return [to_hex(color) for color in weight_map()(preferences[:, 0])]
    corners = np.array([to_rgb(objective_color(i)) for i in range(preferences.shape[1])])
    return [to_hex(color) for color in _from_oklab(preferences @ _to_oklab(corners))]


def preference_label(preference: Sequence[float] | Floats) -> str:
    """A preference as short text: ``0.3 / 0.7``."""
    return " / ".join(f"{weight:.2f}".rstrip("0").rstrip(".") or "0" for weight in preference)


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def weight_bar(axes: Axes, objective: str) -> None:
    """The color scale of the weight on the first of two objectives, beside ``axes``."""
    scale = ScalarMappable(norm=Normalize(0, 1), cmap=weight_map())
    bar = axes.figure.colorbar(scale, ax=axes, shrink=0.6, aspect=26, pad=0.02, ticks=[0, 0.5, 1])
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")
    bar.outline.set_visible(False)
    bar.set_label(f"weight on {objective}", color=MUTED, fontsize=8)


def legend_above(axes: Axes, columns: int) -> None:
    """The legend of ``axes`` between its title and its frame, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        rows = -(-len(handles) // columns)
        axes.set_title(axes.get_title(loc="left"), pad=9.0 + 13.0 * rows)
        legend = axes.legend(handles, labels, ncol=columns, loc="lower left", bbox_to_anchor=(-0.02, 1.0),
                             borderaxespad=0.1, columnspacing=1.2, handletextpad=0.5)  # fmt: skip
        legend.set_in_layout(False)  # wide labels must not narrow the axes; the title has made room above


def _key_above(figure: Figure, key: Sequence[Key]) -> None:
    """The key of a figure above its panels, in as many columns as fit."""
    handles = [
        Line2D([], [], color=entry.color, marker=entry.marker or None, linestyle=entry.line or "none",
               linewidth=1.6, markersize=6.0, markerfacecolor=PAPER if entry.hollow else entry.color,
               markeredgewidth=1.4 if entry.hollow else 0.0, label=short(entry.label))
        for entry in key
    ]  # fmt: skip
    widths = [len(short(entry.label)) * 5.0 + 36 for entry in key]  # points, about
    columns = next(n for n in range(len(key), 0, -1) if n == 1 or _width(widths, n) < 72 * figure.get_figwidth())
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, columnspacing=1.4)


def _width(widths: Sequence[float], columns: int) -> float:
    """The width of a legend with entries of these ``widths``, filled column by column."""
    rows, more = divmod(len(widths), columns)
    starts = [i * rows + min(i, more) for i in range(columns + 1)]
    return sum(max(widths[a:b]) for a, b in zip(starts, starts[1:], strict=False))


@contextmanager
def _figure(
    panels: Sequence[Panel],
    columns: int,
    salt: str,
    key: Sequence[Key] = (),
    *,
    canvas: Callable[[Figure], FigureCanvasBase] = FigureCanvasAgg,
    dpi: float = 200,
) -> Iterator[Figure]:
    """A figure whose parts have their places, so that each file of it is drawn once.

    Where a figure has a layout engine, matplotlib draws it twice for a file, the first time to place its parts.
    """
    with matplotlib.rc_context(RC | {"svg.hashsalt": salt}):
        rows = -(-len(panels) // columns)
        width, height = max(p.size[0] for p in panels), max(p.size[1] for p in panels)
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=(width * columns, height * rows), dpi=dpi, layout=layout)
        canvas(figure)  # by which texts are measured
        for place, panel in enumerate(panels, 1):
            panel.draw(figure.add_subplot(rows, columns, place, projection=panel.projection))
        if key:
            _key_above(figure, key)
        layout.execute(figure)
        figure.set_layout_engine(None)
        yield figure


def save_plate(plate: Plate, folder: Path) -> list[Path]:
    """Write ``<folder>/<name>.png`` (200 dots per inch) and ``.pdf``; the same plate gives the same bytes."""
    columns = min(plate.columns, len(plate.panels))
    written = []
    with _figure(plate.panels, columns, plate.name, plate.key) as figure:
        metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}
        for kind, fields in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=200, metadata=fields)
            written.append(folder / f"{plate.name}.{kind}")
            write_bytes(written[-1], buffer.getvalue())
    return written


def inline_svg(panel: Panel, name: str) -> str:
    """A panel as an SVG element for the page; ``name`` keeps its ids apart from those of other panels."""
    buffer = io.StringIO()
    with _figure([panel], 1, name, canvas=FigureCanvasSVG, dpi=72) as figure:
        figure.patch.set_visible(False)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'\s(?:xmlns:xlink|xmlns|version)="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r"'DejaVu Sans'(?:, [^;\"]*)?", "var(--sans)", text)
    for color, variable in css_variables().items():
        text = text.replace(color, f"var(--{variable})")
    return re.sub(r'<svg height="[^"]*"', '<svg aria-hidden="true" focusable="false"', text, count=1).rstrip()


def css_variables() -> dict[str, str]:
    """The CSS variable that stands for each color of the light palette."""
    inks = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper"}
    inks |= {to_hex(color): f"weight-{step}" for step, color in enumerate(weight_map()(np.arange(WEIGHT_STEPS)))}
    inks |= {color: f"method-{index}" for index, color in enumerate(METHOD_COLORS)}
    return inks | {color: f"objective-{index}" for index, color in enumerate(OBJECTIVE_COLORS)}
