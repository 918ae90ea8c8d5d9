"""The pages of comparisons, of policies and of reward models, drawn from their tables alone."""

from __future__ import annotations

from pathlib import Path

from mora.records.compare import Comparison
from mora.records.read import read_record
from mora.records.rewards import read_reward_comparison
from mora.report import compare_figures, compare_sections, reward_comparison_sections
from mora.report import reward_comparison_figures as reward_figures
from mora.report import reward_comparison_scores as reward_scores
from mora.report.compare_fronts import front_plates, matched_plates
from mora.report.page import Section, figures, write_page
from mora.report.tables import read_texts

POLICIES, REWARDS = Path("tables") / "compare.json", Path("tables") / "reward_comparison.json"


def write_comparison(folder: Path) -> Path:
    """Write the page of a comparison of policies, as ``page.write_page`` does; return its path.

    Everything is drawn from ``tables/compare.json`` and ``tables/answers.jsonl`` in ``folder``; a part without data is
    left out.  Raises ``InputError`` that names file and key when a table cannot be read.
    """
    comparison = read_record(Path(folder) / POLICIES, Comparison)
    rows = read_texts(Path(folder) / "tables" / "answers.jsonl", "method", "prompt", "response")
    written = compare_sections
    spent = [*matched_plates(comparison), *compare_figures.kl_plates(comparison)]
    spent += compare_figures.kl_curve_plates(comparison)
    sweep, wins = compare_figures.sweep_plates(comparison), compare_figures.win_rate_plates(comparison)
    parts = [
        Section(anchor="verdicts", title="Verdicts", body=written.verdicts(comparison)),
        figures("fronts", "Fronts", "The fronts", front_plates(comparison), beside=True),
        figures("kl", "KL", "KL, and what is reached at the same KL", spent, beside=True),
        figures("sweep", "Reference point", "The reference point", sweep, beside=True),
        figures("wins", "Win rates", "Against the reference policy", wins, beside=True),
        Section(anchor="budget", title="Budget", body=written.budget(comparison)),
        Section(anchor="indicators", title="Indicators", body=written.indicators(comparison)),
        Section(anchor="answers", title="Answers", heading="Answers side by side",
                body=written.answers(comparison, rows)),
        Section(anchor="methods", title="Methods", heading="What was compared", body=written.methods(comparison)),
        Section(anchor="conditions", title="Conditions", body=written.conditions(comparison, Path(folder))),
    ]  # fmt: skip
    return write_page(Path(folder), written.head(comparison), parts)


def write_reward_comparison(folder: Path) -> Path:
    """Write the page of a comparison of reward models, as ``page.write_page`` does; return its path.

    Everything is drawn from ``tables/reward_comparison.json``, ``reward_curves.json`` and ``examples.jsonl`` in
    ``folder``; a part without data is left out.  Raises ``InputError`` that names file and key when a table cannot be
    read.
    """
    comparison = read_reward_comparison(Path(folder) / "tables")
    examples = Path(folder) / "tables" / "examples.jsonl"
    rows = read_texts(examples, "run", "objective", "end", "prompt", "response")
    written = reward_comparison_sections
    scores = [*reward_scores.density_plates(comparison), *reward_figures.margin_plates(comparison)]
    doubt = [*reward_figures.calibration_plates(comparison), *reward_figures.risk_plates(comparison)]
    parts = [
        Section(anchor="verdicts", title="Verdicts", body=written.verdicts(comparison)),
        figures("right", "Right or wrong", "", reward_figures.dots_plates(comparison), beside=True),
        figures("scores", "Scores", "", scores, beside=True),
        figures("roc", "ROC", "", reward_figures.roc_plates(comparison), beside=True),
        figures("doubt", "Calibration and doubt", "", doubt, beside=True),
        figures("gold", "Gold", "", reward_scores.gold_plates(comparison), beside=True),
        Section(anchor="agreement", title="Agreement", body=written.agreement(comparison)),
        Section(anchor="metrics", title="Numbers", body=written.metrics(comparison)),
        Section(anchor="examples", title="Extreme answers", body=written.examples(comparison, rows)),
        Section(anchor="methods", title="Methods", heading="What was compared", body=written.methods(comparison)),
    ]
    return write_page(Path(folder), written.head(comparison), parts)
