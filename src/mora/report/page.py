"""A page of tables and figures: one file that needs nothing else, and its figures as files for slides and papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mora.files import exclusive, new_folder, write_text
from mora.report.markup import fill, macros
from mora.report.style import Plate, save_plate, weight_variables


@dataclass(frozen=True, kw_only=True)
class Head:
    """How a page begins: its name, what it is about, what must be known before reading on, figures as (value, name)."""

    kind: str  # of page, in the title of the window
    eyebrow: str
    name: str
    lead: str
    warnings: Sequence[str] = ()
    tiles: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page; without a ``body`` it is left out."""

    anchor: str
    title: str  # in the list of sections, and above the section where it has no ``heading``
    body: str
    heading: str = ""
    plates: Sequence[Plate] = ()


def figures(anchor: str, title: str, heading: str, plates: Sequence[Plate], *, beside: bool = False) -> Section:
    """A section of figures; with ``beside``, neighbors of one panel stand beside each other."""
    body = macros("parts.html").figures(plates, beside) if plates else ""
    return Section(anchor=anchor, title=title, heading=heading, body=body, plates=plates)


def write_page(folder: Path, head: Head, sections: Sequence[Section]) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.{png,pdf}`` in ``folder``; return the page's path.

    The same sections give the same bytes.  An earlier report is replaced as a whole.
    """
    style = files("mora.report").joinpath("page.css").read_text(encoding="utf-8")
    style += f":root {{ {weight_variables(dark=False)} }}\n"
    style += f"@media (prefers-color-scheme: dark) {{ :root {{ {weight_variables(dark=True)} }} }}\n"
    given = [section for section in sections if section.body]
    page = fill("page.html", head=head, sections=given, style=style)
    with exclusive(folder / "report"), new_folder(folder / "report") as target:
        for section in given:
            for plate in section.plates:
                save_plate(plate, target / "figures")
        write_text(target / "index.html", page)
    return folder / "report" / "index.html"
