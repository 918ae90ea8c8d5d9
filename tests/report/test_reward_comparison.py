"""The page of a comparison of reward models: everything that the tables say is on it, and nothing else decides it."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from tests.evaluation.judgements import compared
from tests.report.outline import Outline

from mora.errors import InputError
from mora.evaluation.reward_comparison_tables import write_tables
from mora.files import read_json, record_json
from mora.records.rewards import RewardComparison, read_reward_comparison
from mora.report import reward_comparison_figures as figures
from mora.report import reward_comparison_scores as scores
from mora.report import style
from mora.report.compare import write_reward_comparison

Tables = tuple[dict[str, Any], dict[str, Any], list[Any]]


@pytest.fixture(scope="module")
def three() -> Tables:
    return compared(3, seeds=2)


def page_of(folder: Path, tables: Tables) -> str:
    write_tables(folder / "tables", *tables)
    return write_reward_comparison(folder).read_text(encoding="utf-8")


def read(folder: Path, tables: Tables) -> RewardComparison:
    write_tables(folder, *tables)
    return read_reward_comparison(folder)


def test_the_same_tables_give_the_same_page(tmp_path: Path, unfiled: None) -> None:
    """That the same figures give the same files is tested of the page of a run."""
    tables = compared(2, objectives=1)
    page_of(tmp_path, tables)
    first = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "report").rglob("*") if p.is_file()}
    write_reward_comparison(tmp_path)
    again = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "report").rglob("*") if p.is_file()}
    page = Path("report") / "index.html"
    assert first.keys() == again.keys() and first[page] == again[page]
    names = {path.name for path in first}
    assert names >= {"index.html"} | {
        f"{name}.{kind}"
        for name in ("accuracy", "log-loss", "scores-0", "margins", "roc", "calibration", "risk-margin", "risk-spread",
                     "gold-0")
        for kind in ("png", "pdf")
    }  # fmt: skip
    text = first[Path("report") / "index.html"].decode()
    assert not re.search(r'(?:src|href)="(?!#|figures/|\.\./tables/)', text)  # it loads nothing


def test_every_difference_is_in_the_table_of_verdicts(tmp_path: Path, three: Tables, undrawn: None) -> None:
    text = page_of(tmp_path, three)
    (verdicts,) = re.findall(r'<table class="verdicts">(.*?)</table>', text, re.DOTALL)
    assert len(re.findall(r"<td class=\"number first\">", verdicts)) == three[0]["family"] == 12
    words = Outline(verdicts).words
    for pair in three[0]["pairs"]:
        for entries in pair["objectives"].values():
            for entry in entries.values():
                said = {"A > B": f"{pair['a']} > {pair['b']}", "B > A": f"{pair['b']} > {pair['a']}"}
                assert said.get(entry["verdict"], "undecided") in words
                assert f"{entry['difference']:+.3f}".replace("-", "−") in words.replace(" ", " ")
    whole = Outline(text).words
    assert "over all 12 comparisons" in whole and all(pair["said"] in whole for pair in three[0]["pairs"])


def test_every_number_that_is_known_is_on_the_page(tmp_path: Path, three: Tables, undrawn: None) -> None:
    text = page_of(tmp_path, three)
    section = text[text.index('<section id="metrics">') : text.index('<section id="examples">')]
    tables = re.findall(r'<table class="indicators">(.*?)</table>', section, re.DOTALL)
    assert len(tables) == 2
    for objective, table in zip(("cure", "care"), tables, strict=True):
        rows = dict(re.findall(r'<tr><th scope="row">([^<↑↓]+?)(?: [↑↓])?<small>(.*?)</tr>', table, re.DOTALL))
        assert set(rows) == {m["title"] for m in three[0]["metrics"].values()}
        for method in three[0]["methods"]:
            value = method["metrics"][objective]["accuracy"]["value"]
            assert f"{value:.3f}" in rows["accuracy"]
        assert "–" in rows["AURC by spread"] and "±" in rows["ECE"]


def test_agreement_of_seeds_stands_on_the_diagonal(tmp_path: Path, three: Tables, undrawn: None) -> None:
    text = page_of(tmp_path, three)
    section = text[text.index('<section id="agreement">') : text.index('<section id="metrics">')]
    first = re.findall(r"<table.*?</table>", section, re.DOTALL)[0]
    cells = [
        re.findall(r'<td class="number">([\d.]+)<small>r ([−\d.]+)', row) for row in re.findall(r"<tr>.*?</tr>", first)
    ]
    cells = [row for row in cells if row]
    assert [len(row) for row in cells] == [3, 3, 3] and cells[0][1] == cells[1][0]
    own = [r for r in three[0]["agreement"] if r["objective"] == "cure" and r["a"] == r["b"] == "method 0"]
    across = [
        r for r in three[0]["agreement"] if r["objective"] == "cure" and {r["a"], r["b"]} == {"method 0", "method 1"}
    ]
    assert len(own) == 1 and cells[0][0][0] == f"{own[0]['same_order']:.2f}"
    assert len(across) == 4 and cells[0][1][0] == f"{sum(r['same_order'] for r in across) / 4:.2f}"


def test_one_method_alone_has_numbers_and_no_verdict(tmp_path: Path, undrawn: None) -> None:
    text = page_of(tmp_path, compared(1, objectives=1))
    assert re.findall(r'<section id="(\w+)">', text) == [
        "right", "scores", "roc", "doubt", "gold", "metrics", "examples", "methods"
    ]  # fmt: skip


def test_hostile_names_are_text(tmp_path: Path, three: Tables, undrawn: None) -> None:
    evil = "<script>alert('x')</script> & \"q\" $x_1$"
    table, curves, methods = copy.deepcopy(three[0]), copy.deepcopy(three[1]), three[2]
    for drawn in curves.values():
        drawn["methods"][evil] = drawn["methods"].pop("method 0")
    table["methods"][0] |= {"name": evil, "kind": evil, "model": evil, "settings": {evil: evil}, "covers": evil}
    for row in [*table["pairs"], *table["agreement"]]:
        row |= {side: evil for side in ("a", "b") if row[side] == "method 0"}
    table["pairs"][0]["said"] = table["comparison"] = table["dataset"]["name"] = evil
    table["warnings"] = [evil]
    text = page_of(tmp_path, (table, curves, methods))
    assert "script" not in Outline(text).tags and Outline(text).words.count(evil) >= 12


def test_hostile_names_are_drawn(tmp_path: Path) -> None:
    evil = "<b> & $x_1$ " * 6
    table, curves, methods = compared(1, objectives=1)
    for drawn in curves.values():
        drawn["methods"] = {evil: drawn["methods"]["method 0"]}
    table["methods"][0]["name"] = evil
    comparison = read(tmp_path, (table, curves, methods))
    for plate in (figures.dots_plates(comparison)[0], scores.density_plates(comparison)[0]):
        assert "<b>" not in style.inline_svg(plate.panels[0], "x")


# --- figures ---------------------------------------------------------------------------------------------------------


def drawn(plate: style.Plate, panel: int = 0) -> Any:
    axes = Figure().add_subplot()
    plate.panels[panel].draw(axes)
    return axes


def test_dots_stand_at_means_with_their_intervals(tmp_path: Path, three: Tables) -> None:
    accuracy, loss = figures.dots_plates(read(tmp_path, three))
    for plate, metric in ((accuracy, "accuracy"), (loss, "log_loss")):
        axes = drawn(plate, 1)
        entries = [method["metrics"]["care"][metric] for method in three[0]["methods"]]
        bars = [line.get_xdata() for line in axes.lines][:3]
        assert [list(bar) for bar in bars] == [pytest.approx(entry["interval"]) for entry in entries]
        marks = [c.get_offsets()[0, 0] for c in axes.collections if len(c.get_offsets()) == 1]
        assert marks == pytest.approx([entry["value"] for entry in entries])
        seeds = [list(c.get_offsets()[:, 0]) for c in axes.collections if len(c.get_offsets()) == 2]
        assert seeds == [pytest.approx(entry["by_seed"]) for entry in entries]
    assert drawn(accuracy).lines[-1].get_xdata()[0] == pytest.approx(three[0]["bayes"]["cure"])  # best possible
    low, high = drawn(accuracy).get_xlim()
    assert 0 <= low and high <= 1


def test_lines_are_those_of_the_tables(tmp_path: Path, three: Tables) -> None:
    comparison, curves = read(tmp_path, three), three[1]["care"]
    named = {
        "roc": ("true_positive", figures.roc_plates(comparison)[0]),
        "calibration": ("accuracy", figures.calibration_plates(comparison)[0]),
    }
    for part, (key, plate) in named.items():
        heights = [list(line.get_ydata()) for line in drawn(plate, 1).lines][1:]  # the first one is the diagonal
        assert heights == [pytest.approx(one[part][key]) for one in curves["methods"].values()]
    margins = [list(line.get_ydata()) for line in drawn(figures.margin_plates(comparison)[0], 1).lines][:3]
    assert margins == [pytest.approx(one["densities"]["margin"]["density"]) for one in curves["methods"].values()]
    by_margin, by_spread = figures.risk_plates(comparison)
    lines = [list(line.get_ydata()) for line in drawn(by_margin, 1).lines]
    kept = [coverage >= figures.LEAST_COVERAGE for coverage in curves["methods"]["method 0"]["risk"]["coverage"]]
    wanted = [[r for r, k in zip(one["risk"]["margin"], kept, strict=True) if k] for one in curves["methods"].values()]
    assert lines == [pytest.approx(line) for line in wanted]
    assert len(drawn(by_spread, 1).lines) == 1  # only one of the three has a spread that varies


def test_better_and_worse_answers_share_axes_over_methods(tmp_path: Path, three: Tables) -> None:
    plate = scores.density_plates(read(tmp_path, three))[1]
    axes = [drawn(plate, panel) for panel in range(3)]
    assert len({(a.get_xlim(), a.get_ylim()) for a in axes}) == 1
    for one, a in zip(three[1]["care"]["methods"].values(), axes, strict=True):
        worse, better = (list(line.get_ydata()) for line in a.lines)
        assert better == pytest.approx(one["densities"]["better"]["density"])
        assert worse == pytest.approx(one["densities"]["worse"]["density"])


def test_a_plate_for_eight_methods_and_six_objectives(tmp_path: Path) -> None:
    comparison = read(tmp_path, compared(8, objectives=6, pairs=80))
    assert [len(plate.panels) for plate in figures.dots_plates(comparison)] == [6, 6]
    assert [len(plate.panels) for plate in scores.density_plates(comparison)] == [8] * 6
    keys = figures.roc_plates(comparison)[0].key
    assert len({(key.color, key.marker) for key in keys}) == 8
    assert style.save_plate(figures.roc_plates(comparison)[0], tmp_path / "drawn")


# --- tables that cannot be read --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("reward_comparison.json", lambda t: t.pop("family"), "family is missing"),
        ("reward_comparison.json", lambda t: t["methods"][1].update(name="method 0"), "must have names, each once"),
        ("reward_comparison.json", lambda t: t["pairs"][0].update(a="nobody"), r"pairs\[0\].a names no method"),
        (
            "reward_comparison.json",
            lambda t: t["pairs"][0]["objectives"]["cure"]["accuracy"].update(verdict="maybe"),
            "verdict is none of",
        ),
        ("reward_curves.json", lambda t: t["cure"]["methods"].pop("method 1"), "cure.methods.method 1 is missing"),
        ("reward_curves.json", lambda t: t["cure"]["grid"].pop(), "has 41 values where 40 belong"),
    ],
)
def test_a_bad_table_is_named_by_file_and_key(tmp_path: Path, three: Tables, file: str, change: Any, said: str) -> None:
    write_tables(tmp_path, *three)
    table = read_json(tmp_path / file)
    change(table)
    record_json(tmp_path / file, table)
    with pytest.raises(InputError, match=rf"{file}.*{said}"):
        read_reward_comparison(tmp_path)
