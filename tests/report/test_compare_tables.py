"""What comparison tables must be, how their numbers are written, and the command that draws pages again."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from tests.report.comparison import compare_table, read, write_tables

from mora.errors import InputError
from mora.files import read_json, write_json, write_lines, write_text
from mora.report.__main__ import main
from mora.report.chain import stages_of
from mora.report.compare import write_comparison
from mora.report.markup import decimals, macros, written


def test_numbers_share_the_decimals_that_they_need():
    def said(*values: float) -> list[str]:
        return [written(v, decimals(values)) for v in values]

    assert said(-0.6, -0.0006) == ["−0.600", "−0.001"]
    assert said(0.00393, 0.0001) == ["0.0039", "0.0001"]
    assert said(12.345, 0.2) == ["12.35", "0.20"]
    assert said(1234.5, -2.0) == ["1,234", "−2"]  # rounds half to even
    assert said(-1e-18, 0.5) == ["0.000", "0.500"]
    assert said(0.0, float("nan")) == ["0.000", "–"]
    p_value, amount = macros("parts.html").p_value, macros("parts.html").amount
    assert [p_value(p) for p in (0.00099, 0.001, 1.0, float("nan"))] == ["&lt; 0.001", "0.001", "1.000", "–"]
    assert [amount("seconds", 1234.4), amount("peak_memory_gib", 11.25)] == ["1,234", "11.2"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("objectives",), [], r"objectives is empty"),
        (("methods", 1, "points", 3, "kl"), "2", r"methods\[1\]\.points\[3\]\.kl is no number"),
        (("methods", 1, "points", 3, "scores"), [1.0], r"methods\[1\]\.points\[3\]\.scores has 1 values where 2"),
        (("methods", 0, "points", 3, "preference"), [1.0, 0.0], r"points\[3\]\.preference is not the preference"),
        (("methods", 0, "points"), [], r"methods\[0\]\.points has 0 values where 11"),
        (("methods", 1, "name"), "row", r"methods must have names, each once"),
        (("methods", 0, "steered"), 1, r"methods\[0\]\.steered is neither"),
        (("methods", 0, "seeds"), [0.5], r"methods\[0\]\.seeds\[0\] is no whole number"),
        (("methods", 0, "fronts_by_seed"), [[[0.0, 1.0]]], r"fronts_by_seed\[0\] has 1 values where 11"),
        (("pairs", 0, "b"), "nobody", r"pairs\[0\]\.b names no method"),
        (("pairs", 0, "verdicts", "hypervolume", "verdict"), "A", r"verdicts\.hypervolume\.verdict is none of"),
        (("pairs", 0, "by_reference_point"), "C", r"by_reference_point is none of"),
        (("sweep", "hypervolumes"), {}, r"sweep\.hypervolumes\.row is missing"),
        (("judge",), "gold", r"judge is no object"),
        (("split",), "validation", r"split is none of train, test"),
        (("split",), ["test"], r"split is none of train, test"),
    ],
)
def test_a_bad_table_is_named_with_its_key(tmp_path, path, value, said):
    table = compare_table(2, names=("row", "batch"))
    part: Any = table
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(InputError, match=rf"compare\.json: .*{said}"):
        read(tmp_path, table)


def test_a_missing_key_is_named(tmp_path):
    for name in read_json(write_tables(tmp_path, compare_table(2, names=("row", "batch"))) / "tables/compare.json"):
        table = compare_table(2, names=("row", "batch"))
        del table[name]
        try:
            read(tmp_path, table)
        except InputError as error:
            assert f": {name} is missing" in str(error)
        else:
            assert name in {"dataset", "seed", "sampling", "resamples", "standardization", "kl_budget", "world",
                            "kl_budgets", "sweep"}  # fmt: skip


def test_a_bad_table_leaves_the_old_report(tmp_path, undrawn):
    folder = write_tables(tmp_path, compare_table(2, names=("row", "batch")))
    page = write_comparison(folder)
    before = page.read_bytes()
    (folder / "tables" / "compare.json").write_text(json.dumps({"comparison": "x"}))
    with pytest.raises(InputError):
        write_comparison(folder)
    assert page.read_bytes() == before


def test_the_command_loads_no_model_code():
    heavy = "('torch', 'transformers', 'hydra', 'omegaconf')"
    code = f"import sys, mora.report.__main__; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_command_draws_comparisons_and_runs(tmp_path, undrawn, capsys):
    folder, run, below = tmp_path / "compare-x", tmp_path / "panacea-x", tmp_path / "sft-x"
    write_tables(folder, compare_table(2, names=("row", "batch")))
    for path in (run, below):
        write_lines(path / "metrics.jsonl", [])
        write_text(path / "config.yaml", f"name: settings of {path.name}\n")
    write_json(run / "identity.json", {"upstream": {"policy": "sft-x", "reward": "gone", "other": {"hub": "id"}}})
    assert main([str(folder), str(run)]) == 0
    assert capsys.readouterr().out.split() == ["report:", str(folder / "report" / "index.html"),
                                               "report:", str(run / "report" / "index.html")]  # fmt: skip
    text = (run / "report" / "index.html").read_text()
    assert "Stages: sft → panacea." in text and "settings of sft-x" in text
    assert "mora comparison" in (folder / "report" / "index.html").read_text()
    assert stages_of(run) == [("sft", below), ("panacea", run)]


def test_a_folder_without_tables_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {tmp_path} holds no tables") and message.count("\n") == 1
    assert not (tmp_path / "report").exists()
