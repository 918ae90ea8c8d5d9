"""The page of a comparison of reward models: one file that needs nothing else, and its figures as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mora.files import alone, new_folder, write_text
from mora.report import compare_sections, markup
from mora.report import reward_comparison_figures as figures
from mora.report import reward_comparison_scores as scores
from mora.report import reward_comparison_sections as sections
from mora.report.reward_comparison_tables import RewardComparison, read_examples, read_reward_comparison
from mora.report.style import Plate, save_plate

TABLE = Path("tables") / "reward_comparison.json"


def write_reward_comparison(folder: Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.{png,pdf}`` of a comparison; return the page's path.

    Everything is drawn from ``tables/reward_comparison.json``, ``reward_curves.json`` and ``examples.jsonl`` in
    ``folder``; a part without data is left out.  The same tables give the same bytes.  An earlier report is replaced as
    a whole.  Raises ``InputError`` that names file and key when a table cannot be read.
    """
    folder = Path(folder)
    comparison = read_reward_comparison(folder / "tables")
    rows = read_examples(folder / "tables" / "examples.jsonl")
    with alone(folder / "report"), new_folder(folder / "report") as target:
        body, plates = _body(comparison, rows)
        for plate in plates:
            save_plate(plate, target / "figures")
        write_text(target / "index.html", markup.document(f"{comparison.name} · mora comparison", body))
    return folder / "report" / "index.html"


def _body(comparison: RewardComparison, rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[Plate]]:
    drawn = {
        ("right", "Right or wrong"): figures.dots_plates(comparison),
        ("scores", "Scores"): [*scores.density_plates(comparison), *figures.margin_plates(comparison)],
        ("roc", "ROC"): figures.roc_plates(comparison),
        ("doubt", "Calibration and doubt"): [*figures.calibration_plates(comparison), *figures.risk_plates(comparison)],
        ("gold", "Gold"): scores.gold_plates(comparison),
    }
    parts = [
        ("verdicts", "Verdicts", sections.verdicts(comparison)),
        *(
            (anchor, title, compare_sections.figures(anchor, title, plates))
            for (anchor, title), plates in drawn.items()
        ),
        ("agreement", "Agreement", sections.agreement(comparison)),
        ("metrics", "Numbers", sections.metrics(comparison)),
        ("examples", "Extreme answers", sections.examples(comparison, rows)),
        ("methods", "Methods", sections.methods(comparison)),
    ]
    shown = [(anchor, title) for anchor, title, content in parts if content]
    body = sections.head(comparison, shown) + "\n".join(content for *_, content in parts if content)
    return body, [plate for plates in drawn.values() for plate in plates]
