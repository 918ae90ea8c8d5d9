"""What every evaluation in ``conf/evaluation`` must do, whatever it measures: a new YAML is a row of ``ROWS``."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml
from tests.chain import chain_options, without_pictures

import mora
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.files import read_json
from mora.run.build import build
from mora.settings.identity import plain
from mora.settings.tree import conf_dir
from mora.train import train

PREFERENCES = "evaluation.preferences=[[1,0],[0,1]]"
ROWS = {  # name: the algorithm of a run that it takes, and settings that make it small
    "floors": ("panacea", "evaluation.floors={r1: [-100.0]}", "evaluation.scorer=reward"),
    "front": ("panacea", PREFERENCES, "evaluation.prompts=2", "evaluation.samples=2"),
    "optimum": ("panacea", "evaluation.prompts=2", "evaluation.samples=16"),
    "regret": ("panacea", PREFERENCES),
    "reward_model": ("reward_model",),
    "safety": ("panacea", PREFERENCES, "evaluation.floors={r1: -100.0}"),
    "sections": ("reward_model", "evaluation.path=rows.jsonl", "evaluation.preference=[0.5,0.5]"),
}
NAMES = sorted(path.stem for path in (conf_dir() / "evaluation").glob("*.yaml"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A policy and the reward model that trained it, in a world whose every answer is known; and a benchmark."""
    root = tmp_path_factory.mktemp("battery")
    row = {"prompt": "a d", "chosen": "a", "rejected": "c", "subset": "mine"}
    (root / "rows.jsonl").write_text(json.dumps(row) + "\n")
    given = ["dataset=oracle", "dataset.max_response=2", "reward=scalar", *chain_options(root / "runs")]
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        patch.chdir(root)
        train(mora.compose(*given), given)
        yield root / "runs"


def settings(name: str, *more: str):
    return mora.compose(f"evaluation={name}", *ROWS.get(name, ("",))[1:], *more, command="evaluate")


def test_the_table_has_a_row_for_every_evaluation_of_one_run():
    takes = {name: yaml.safe_load((conf_dir() / "evaluation" / f"{name}.yaml").read_text())["takes"] for name in NAMES}
    assert set(ROWS) == {name for name in NAMES if takes[name] != "runs"}


@pytest.mark.parametrize("name", NAMES)
def test_the_keys_of_the_yaml_are_the_fields_and_no_field_has_a_default(name):
    section = plain(settings(name).evaluation)
    fields = dataclasses.fields(build(section))
    assert {field.name for field in fields} == set(section) - {"_target_", "measures", "takes"}
    missing = dataclasses.MISSING
    assert all(field.default is missing and field.default_factory is missing for field in fields)


@pytest.mark.parametrize("name", ROWS)
def test_measured_twice_the_tables_are_the_same_and_say_how_they_were_made(runs, capsys, name):
    cfg = settings(name, f"run=latest:{ROWS[name][0]}", f"paths.runs={runs}")
    found: list[dict[str, bytes]] = []
    for _ in range(2):
        evaluate(cfg, [f"evaluation={name}"])
        (tables,) = runs.glob(f"{ROWS[name][0]}-*/tables")
        written = [path for path in tables.iterdir() if path.is_file() and path.name != "manifest.json"]  # of changes
        found.append({path.name: path.read_bytes() for path in written})
    assert found[0] == found[1]
    made = read_json(tables / "measured.json")
    (table,) = [table for table, one in made.items() if one["evaluation"]["_target_"] == cfg.evaluation._target_]
    assert f"{table}.json" in found[0] and made[table]["seed"] == cfg.seed
    assert capsys.readouterr().out.count("\nreport: ") == 2
    assert (tables.parent / "report" / "index.html").is_file()


def test_a_class_limit_is_found_beside_the_run_and_one_that_was_not_measured_is_refused(runs):
    (run,) = runs.glob("panacea-*")
    named = f"run={run.name}", f"paths.runs={runs}"
    evaluate(settings("regret", *named), [])
    alone = read_json(run / "tables" / "regret.json")["splits"]["test"]["scorers"]["gold"]
    evaluate(settings("regret", *named, f"evaluation.limit={run.name}"), [])
    beside = read_json(run / "tables" / "regret.json")["splits"]["test"]["scorers"]["gold"]
    assert beside["limit"] == {"run": run.name, "points": alone["points"], "summary": alone["summary"]}
    (unmeasured,) = runs.glob("sft-*")
    with pytest.raises(InputError, match=r"no run with tables/regret\.json; measure it first"):
        evaluate(settings("regret", *named, f"evaluation.limit={unmeasured.name}"), [])
