"""The page of a comparison: one file that needs nothing else, and its figures as files for slides and papers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mora.files import alone, new_folder, write_text
from mora.report import compare_figures, compare_sections, markup
from mora.report.compare_answers import answers, conditions
from mora.report.compare_fronts_many import front_plates, matched_plates
from mora.report.compare_tables import Comparison, read_answers, read_comparison
from mora.report.compare_verdicts import head, verdicts
from mora.report.style import Plate, save_plate

TABLE = Path("tables") / "compare.json"


def write_comparison(folder: Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.{png,pdf}`` of a comparison; return the page's path.

    Everything is drawn from ``tables/compare.json`` and ``tables/answers.jsonl`` in ``folder``; a part without data is
    left out.  The same tables give the same bytes.  An earlier report is replaced as a whole.
    Raises ``InputError`` that names file and key when a table cannot be read.
    """
    folder = Path(folder)
    comparison = read_comparison(folder / TABLE)
    rows = read_answers(folder / "tables" / "answers.jsonl")
    with alone(folder / "report"), new_folder(folder / "report") as target:
        body, plates = _body(folder, comparison, rows)
        for plate in plates:
            save_plate(plate, target / "figures")
        write_text(target / "index.html", markup.document(f"{comparison.name} · mora comparison", body))
    return folder / "report" / "index.html"


def _body(folder: Path, comparison: Comparison, rows: list[dict[str, Any]]) -> tuple[str, list[Plate]]:
    fronts = front_plates(comparison)
    matched = [*matched_plates(comparison), *compare_figures.kl_plates(comparison)]
    matched += compare_figures.kl_curve_plates(comparison)
    sweep, wins = compare_figures.sweep_plates(comparison), compare_figures.win_rate_plates(comparison)
    parts = [
        ("verdicts", "Verdicts", verdicts(comparison)),
        ("fronts", "Fronts", compare_sections.figures("fronts", "The fronts", fronts)),
        ("kl", "KL", compare_sections.figures("kl", "KL, and what is reached at the same KL", matched)),
        ("sweep", "Reference point", compare_sections.figures("sweep", "The reference point", sweep)),
        ("wins", "Win rates", compare_sections.figures("wins", "Against the reference policy", wins)),
        ("budget", "Budget", compare_sections.budget(comparison)),
        ("indicators", "Indicators", compare_sections.indicators(comparison)),
        ("answers", "Answers", answers(comparison, rows)),
        ("methods", "Methods", compare_sections.methods(comparison)),
        ("conditions", "Conditions", conditions(comparison, folder)),
    ]
    shown = [(anchor, title) for anchor, title, content in parts if content]
    body = head(comparison, shown) + "\n".join(content for *_, content in parts if content)
    return body, [*fronts, *matched, *sweep, *wins]
