"""The page of a comparison: what it says, in what order, and that it needs nothing else."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from tests.report.comparison import answer_rows, compare_table, page_of, read, write_tables
from tests.report.outline import Outline

from mora.files import write_lines
from mora.report import markup, page, style
from mora.report.compare import write_comparison
from mora.report.compare_fronts import front_plates
from mora.report.compare_sections import answers
from mora.report.style import METHOD_COLORS, OBJECTIVE_COLORS
from mora.report.tables import read_texts


@pytest.mark.parametrize(
    ("count", "seeds", "plates"),
    [
        (1, 3, {"fronts"}),
        (2, 1, {"fronts", "fronts-matched-kl"}),
        (2, 3, {"fronts", "fronts-matched-kl"}),
        (3, 1, {"fronts", "fronts-pairs", "fronts-matched-kl"}),
        (4, 3, {"fronts", "fronts-pairs"}),
        (6, 1, {"fronts", "fronts-pairs"}),
    ],
)
def test_any_number_of_objectives_and_seeds(tmp_path, monkeypatch, count, seeds, plates):
    saved: list[str] = []
    monkeypatch.setattr(page, "save_plate", lambda plate, folder: saved.append(plate.name))
    monkeypatch.setattr(markup, "inline_svg", lambda panel, name: "")
    text = page_of(tmp_path, compare_table(count, seeds=seeds))
    outline = Outline(text)
    assert set(saved) == plates | {"kl-curve", "kl", "reference-point", "win-rate"}
    sections = ["verdicts", "fronts", "kl", "sweep", "wins", "budget", "indicators", "answers", "methods", "conditions"]
    assert re.findall(r'<section id="(\w+)">', text) == sections
    assert outline.unnamed == 0 and outline.tags.count("h1") == 1
    assert len(outline.ids) == len(set(outline.ids))
    assert not {"nan", "None", "inf"} & set(re.findall(r"\w+", outline.words))
    assert f"{seeds} trained seed{'s' if seeds > 1 else ''} per method" in outline.words


@pytest.fixture(scope="module")
def plane(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("compare")
    table = compare_table(2, names=("row", "sft")) | {"kl_budgets": [], "sweep": None}
    for method in table["methods"]:
        method["kl_curve"] = None
    return folder, page_of(folder, table)


def test_the_page_needs_nothing_else(plane):
    folder, text = plane
    outline = Outline(text)
    assert not {"script", "link", "img", "iframe", "image", "object"} & set(outline.tags)
    linked = [r for r in outline.references if not r.startswith("#")]
    assert "../tables/points.csv" in linked
    assert all((folder / "report" / r).resolve().is_file() for r in linked)
    assert {r[1:] for r in outline.references if r.startswith("#")} <= set(outline.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(outline.ids)
    for color in (*METHOD_COLORS, *OBJECTIVE_COLORS):
        assert color not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)  # all follow a dark page


def test_the_same_tables_give_the_same_bytes(plane):
    folder, _ = plane
    before = {p.name: p.read_bytes() for p in (folder / "report").rglob("*") if p.is_file()}
    write_comparison(folder)
    assert before == {p.name: p.read_bytes() for p in (folder / "report").rglob("*") if p.is_file()}
    assert {name for name in before if name.startswith("fronts")} >= {"fronts.png", "fronts.pdf"}


def test_every_number_of_a_verdict_is_in_the_table(tmp_path, undrawn):
    table = compare_table(3)
    values = itertools.count(1)
    for pair in table["pairs"]:
        for part in ("verdicts", "at_matched_kl"):
            for entry in pair[part].values():
                i = next(values)
                entry |= {"difference": 0.1 + i / 1000, "interval": [-0.2 - i / 1000, 0.5 + i / 1000]}
                entry |= {"p": i / 997, "p_holm": i / 499}
    text = page_of(tmp_path, table)
    (verdicts,) = re.findall(r'<table class="verdicts">(.*?)</table>', text, re.DOTALL)
    cells = [Outline(cell).words for cell in re.findall(r"<td.*?</td>", verdicts)]
    assert next(values) == 25
    for pair, number in itertools.product(table["pairs"], ("verdicts", "at_matched_kl")):
        for entry in pair[number].values():
            low, high = entry["interval"]
            difference = f"+{entry['difference']:.3f} [−{-low:.3f}, {high:.3f}]"
            said = {"A > B": f"{pair['a']} > {pair['b']}", "B > A": f"{pair['b']} > {pair['a']}"}
            name = said.get(entry["verdict"], "undecided")
            place = cells.index(difference)
            uncorrected = f"{entry['p']:.3f}"
            assert " ".join(cells[place + 1].split()) == (f"{name}p {entry['p_holm']:.3f}, raw {uncorrected}")
    words = Outline(text).words
    assert "over all 24 comparisons" in words and "not that the methods are equal" in words
    assert "Intervals cover: new prompts, these trained policies" in words
    assert all(pair["said"] in words for pair in table["pairs"])
    assert text.index('class="said"') < text.index('class="verdicts"') < text.index('<section id="fronts">')


@pytest.mark.parametrize(
    ("favored", "said"),
    [("A", "row"), ("B", "batch"), ("equal", "equal"), ("depends on the reference point",) * 2, (None, "–")],
)
def test_what_the_reference_points_favor_is_named(tmp_path, undrawn, favored, said):
    table = compare_table(2, names=("row", "batch"))
    table["pairs"][0]["by_reference_point"] = favored
    (verdicts,) = re.findall(r'<table class="verdicts">(.*?)</table>', page_of(tmp_path, table), re.DOTALL)
    assert re.findall(r'<td class="first favored" rowspan="2">(.*?)</td>', verdicts) == [said]


def test_warnings_come_before_everything(tmp_path, undrawn):
    table = compare_table(2) | {"warnings": ["One seed <only>.", "Smoke."]}
    text = page_of(tmp_path, table)
    assert text.index("One seed &lt;only&gt;.") < text.index("Smoke.") < text.index("<nav")


def test_hostile_names_are_text(tmp_path, undrawn):
    evil = "<script>alert('x')</script> & \"q\" $x_1$"
    table = compare_table(2, names=("row", evil))
    table["objectives"] = ["<i>cure", "ca&re"]
    table["methods"][0] |= {"algo": evil, "model": evil, "runs": [evil], "covers": evil, "trained_by": evil}
    table["methods"][0]["settings"] = {evil: evil}
    table["pairs"][0]["said"] = table["comparison"] = table["judge"]["name"] = evil
    folder = write_tables(tmp_path, table)
    rows = [row | {"prompt": evil, "response": evil} for row in answer_rows(table)]
    write_lines(folder / "tables" / "answers.jsonl", rows)
    text = write_comparison(folder).read_text(encoding="utf-8")
    outline = Outline(text)
    assert "script" not in outline.tags and "<i>cure" not in text
    assert outline.words.count(evil) >= 12


def test_a_hostile_name_is_drawn(tmp_path):
    comparison = read(tmp_path, compare_table(2, names=("row", "<b> & $x_1$ " * 9)))
    svg = style.inline_svg(front_plates(comparison)[0].panels[0], "x")
    assert "<b>" not in svg
    assert style.save_plate(front_plates(comparison)[0], tmp_path)


def test_null_is_a_dash_or_not_recorded(tmp_path, undrawn):
    table = compare_table(2, names=("row", "batch", "sft"))
    for method in table["methods"]:
        method |= {"band": None, "kl_curve": None, "at_matched_kl": None}
        for point in method["points"]:
            point |= {"valid": None, "kl": None, "kl_margin": None, "at_matched_kl": None, "win_rate": None}
    table["methods"][0]["points"][2]["scores"] = [None, None]
    table["methods"][1]["budget"] = None
    table |= {"world": None, "sweep": None, "kl_budgets": [], "kl_budget": None}
    for pair in table["pairs"]:
        pair |= {"at_matched_kl": None}
        pair["verdicts"]["hypervolume"] |= {"interval": None, "p": None, "p_holm": None}
    text = page_of(tmp_path, table)
    assert re.findall(r'<section id="(\w+)">', text)[:3] == ["verdicts", "fronts", "budget"]
    words = Outline(text).words
    assert "not recorded" in words and "at matched KL" not in words
    assert not {"nan", "None"} & set(re.findall(r"\w+", words))


def test_what_was_compared_and_how(tmp_path, undrawn):
    words = Outline(page_of(tmp_path, compare_table(2))).words
    for said in (
        "algo.kl_coef", "0.15", '{"kind": "mean"}', "reward_model-1a2b", "no, one policy for all preferences",
        "1,234,567", "9,999,999", "11.2", "all reference answers", "1.1 nats at every preference", "0badc0de",
        "temperature 1.0", "1000 resamples", "exact volume above z", "tau-b of weight and score",
    ):  # fmt: skip
        assert said in words


# --- answers ---------------------------------------------------------------------------------------------------------


def test_answers_stand_side_by_side(tmp_path):
    comparison = read(tmp_path, compare_table(2, names=("row", "sft")))
    html = answers(comparison, answer_rows(compare_table(2, names=("row", "sft")), prompts=1))
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", html, re.DOTALL)
    assert [re.sub(r"<.*?>", "", head) for head, _ in rows] == ["reference policy", "0 / 1", "0.5 / 0.5", "1 / 0"]
    assert 'colspan="2"' in rows[0][1] and rows[0][1].count("guard the cat") == 1
    for (_, cells), weight in zip(rows[1:], ("0.00", "0.50", "1.00"), strict=True):
        found = [Outline(cell).words for cell in re.findall(r"<td.*?</td>", cells, re.DOTALL)]
        assert [f"{name} says" in text and f"at {weight} ." in text
                for name, text in zip(("row", "sft"), found, strict=True)] == [True, True]  # fmt: skip


def test_different_reference_policies_answer_in_their_methods_columns(tmp_path):
    table = compare_table(2, names=("row", "batch"))
    rows = answer_rows(table, prompts=1)
    for row in rows:
        if row["method"] == "reference policy of batch":
            row["response"] = "feed the dog ."
    html = answers(read(tmp_path, table), rows)
    first = html[html.index("reference policy</th>") : html.index("</tr>", html.index("reference policy</th>"))]
    assert first.index("guard the cat") < first.index("feed the dog") and "colspan" not in first


def test_at_most_six_prompts_from_all_over_the_file(tmp_path):
    table = compare_table(2, names=("row", "batch"))
    html = answers(read(tmp_path, table), answer_rows(table, prompts=12))
    assert re.findall(r"number (\d+) \. what", html) == ["0", "2", "4", "6", "8", "10"]


def test_without_answers_there_is_no_such_section(tmp_path):
    assert read_texts(tmp_path / "answers.jsonl", "method") == []
    assert answers(read(tmp_path, compare_table(2)), []) == ""
