"""HTML made of escaped text."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files

import numpy as np
from matplotlib.markers import MarkerStyle

from mora.errors import visible
from mora.report.style import (
    Key,
    Plate,
    css_variables,
    inline_svg,
    method_color,
    method_marker,
    number,
    preference_label,
    weight_variables,
)


def text(value: object) -> str:
    """Any value as HTML text or attribute value, with control characters made visible."""
    clean = visible(str(value)).encode("utf-8", "replace").decode("utf-8")
    return html.escape(clean, quote=True)


def with_error(value: float, error: float | None) -> str:
    """A mean and its standard error as HTML."""
    if error is None or not math.isfinite(error):
        return number(value)
    return f"{number(value)} <small>± {number(error)}</small>"


def with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """A number and the ends of its interval, where there is one, as HTML."""
    if interval is None:
        return number(value)
    return f"{number(value)} <small>[{number(interval[0])}, {number(interval[1])}]</small>"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, css: str = "", words: Sequence[int] = ()
) -> str:
    """A table of HTML cells.  The first cell of a row is its heading; columns in ``words`` are text, others numbers."""
    columns = "".join(
        f'<th scope="col"{"" if i == 0 or i in words else " class=number"}>{cell}</th>' for i, cell in enumerate(head)
    )
    body = []
    for row in rows:
        cells = [f'<th scope="row">{row[0]}</th>']
        cells += [f'<td class="{"words" if i in words else "number"}">{c}</td>' for i, c in enumerate(row[1:], 1)]
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table class="{css}">'
        f"<caption>{text(caption)}</caption><thead><tr>{columns}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def mix(preference: Sequence[float], objectives: Sequence[str]) -> str:
    """A preference as a small bar of objective colors and its numbers."""
    parts = "".join(
        f'<i style="width:{100 * weight:.1f}%;background:var(--objective-{index % 8})"></i>'
        for index, weight in enumerate(preference)
        if weight > 0
    )
    spoken = ", ".join(f"{o} {w:.2f}" for o, w in zip(objectives, preference, strict=True))
    return (
        f'<span class="mix" role="img" aria-label="{text(spoken)}">{parts}</span>{text(preference_label(preference))}'
    )


def objective(name: str, index: int) -> str:
    """An objective's name with its color."""
    return f'<span class="key" style="background:var(--objective-{index % 8})"></span>{text(name)}'


def look(entry: Key) -> str:
    """The line and the mark of an entry of a key as a small picture, which the text beside it names."""
    color, style = f"var(--{css_variables()[entry.color]})", MarkerStyle(entry.marker or "o")
    parts = []
    if entry.line:
        dashes = ' stroke-dasharray="2 3"' if entry.line == ":" else ""
        parts.append(f'<path d="M1 7H25" stroke="{color}" stroke-width="2"{dashes}/>')
    if entry.marker:
        outline = style.get_path().transformed(style.get_transform()).to_polygons()[0]
        points = " ".join(f"{13 + 9 * x:.1f},{7 - 9 * y:.1f}" for x, y in np.asarray(outline, dtype=float))
        fill = "var(--paper)" if entry.hollow else color
        parts.append(f'<polygon points="{points}" fill="{fill}" stroke="{color}" stroke-width="1.3"/>')
    return f'<svg class="look" viewBox="0 0 26 14" aria-hidden="true" focusable="false">{"".join(parts)}</svg>'


def method(name: str, index: int) -> str:
    """A compared method's name with its mark."""
    entry = Key(label=name, color=method_color(index), marker=method_marker(index))
    return f'<span class="method">{look(entry)}{text(name)}</span>'


def _key(entries: Sequence[Key]) -> str:
    items = "".join(f"<li>{look(entry)}{text(entry.label)}</li>" for entry in entries)
    return f'<ul class="keys" aria-label="Key">{items}</ul>' if entries else ""


def fold(title: str, content: str) -> str:
    """Folded HTML."""
    return f"<details><summary>{text(title)}</summary>{content}</details>"


def plate(content: Plate, level: int = 3) -> str:
    """A figure of the page: every panel an inline SVG with its alternative text, and links to the files for slides."""
    panels = "".join(
        f'<div class="panel" role="img" aria-label="{text(panel.alt)}">{inline_svg(panel, f"{content.name}-{i}")}</div>'
        for i, panel in enumerate(content.panels)
    )
    width = round(max(panel.size[0] for panel in content.panels) * 72)
    links = " · ".join(f'<a href="figures/{content.name}.{kind}">{kind.upper()}</a>' for kind in ("png", "pdf"))
    return (
        f'<figure class="plate"><h{level}>{text(content.title)}</h{level}>{_key(content.key)}'
        f'<div class="panels" style="--panel:{width}px">{panels}</div>'
        f"<figcaption>{text(content.caption)} {links}</figcaption></figure>"
    )


def details(title: str, content: str) -> str:
    """A folded block of text as it is."""
    return fold(title, f"<pre>{text(content)}</pre>")


def warning(message: str) -> str:
    """A remark that must not be overlooked."""
    return f'<div class="warning" role="note"><p>{message}</p></div>'


def document(title: str, body: str) -> str:
    """The whole page, style included; it loads nothing."""
    style = files("mora.report").joinpath("page.css").read_text(encoding="utf-8")
    style += f":root {{ {weight_variables(dark=False)} }}\n"
    style += f"@media (prefers-color-scheme: dark) {{ :root {{ {weight_variables(dark=True)} }} }}\n"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
