"""Comparing finished runs by the command, on a chain of tiny runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

import mora
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.files import read_json, read_lines, write_json, write_text
from mora.report.__main__ import main as redraw
from mora.run import compare
from mora.run.compared import Opened
from mora.run.plan import plan
from mora.train import train
from tests.chain import chain_options, without_files, without_pictures

ASKED = ("evaluation.preferences=[[1,0],[0.5,0.5],[0,1]]", "evaluation.prompts=8", "evaluation.samples=2")
QUICK = ("evaluation.resamples=100", "evaluation.kl_steps=1", "evaluation.sweep_steps=2", "evaluation.shown_prompts=1")


@pytest.fixture(scope="module")
def runs(chain, tmp_path_factory) -> SimpleNamespace:
    """The runs of the chain, elsewhere, and one more that trains with a preference per batch."""
    root = tmp_path_factory.mktemp("comparing") / "runs"
    shutil.copytree(chain[1][-1].path.parent, root)
    overrides = [*chain_options(root), "preference=batch"]
    cfg = mora.compose(*overrides)
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        train(cfg, overrides)
    sft, reward, row = (stage.id for stage in chain[1])
    return SimpleNamespace(root=root, sft=sft, reward=reward, row=row, batch=plan(cfg, overrides)[-1].id)


def ask(runs: SimpleNamespace, named: str, *overrides: str) -> None:
    """The command ``mora.evaluate evaluation=compare`` with ``named`` as its runs."""
    given = ["evaluation=compare", f"paths.runs={runs.root}", *ASKED, *QUICK, *overrides]
    given += [f"runs={named}"] if named else []
    evaluate(mora.compose(*given, command="evaluate"), given)


def newest(runs: SimpleNamespace) -> Path:
    return max(runs.root.glob("compare-*/tables/compare.json"), key=lambda path: path.stat().st_mtime_ns).parents[1]


@pytest.fixture(scope="module")
def compared(runs) -> Path:
    """A comparison with its page, apart from where others write theirs."""
    with pytest.MonkeyPatch.context() as patch:
        without_files(patch)
        ask(runs, f"[{runs.row},{runs.batch},{runs.sft}]")
    made = newest(runs)
    return shutil.copytree(made, runs.root / "kept" / made.name)


def test_runs_are_compared_in_one_folder(runs, compared, capsys):
    table = read_json(compared / "tables" / "compare.json")
    assert table["comparison"] == compared.name and compared.name.startswith("compare-garden-")
    names = [method["name"] for method in table["methods"]]
    assert names == ["panacea unit=row", "panacea unit=batch", "sft"]
    assert [method["runs"] for method in table["methods"]] == [[runs.row], [runs.batch], [runs.sft]]
    assert [method["settings"] for method in table["methods"]][:2] == [
        {"algo": "panacea", "preference.unit": "row"},
        {"algo": "panacea", "preference.unit": "batch"},
    ]
    assert [method["steered"] for method in table["methods"]] == [True, True, False]
    assert [method["trained_by"] for method in table["methods"]] == [runs.reward, runs.reward, None]
    assert table["judge"]["name"] == "gold" and not any(method["judge_trained_it"] for method in table["methods"])
    assert table["prompts"] == 8 and len(table["pairs"]) == 3
    assert (compared / "report" / "index.html").is_file()
    warned = " ".join(table["warnings"])
    assert "Smoke model: tiny" in warned and "One seed of panacea unit=row, panacea unit=batch, sft" in warned
    assert "The judge" not in warned


def test_what_each_run_spent_stands_beside_it(runs, compared):
    row, _, sft = (method["budget"] for method in read_json(compared / "tables" / "compare.json")["methods"])
    assert [stage["run"] for stage in row["stages"]] == [runs.sft, runs.reward, runs.row]
    assert [stage["algo"] for stage in row["stages"]] == ["sft", "reward_model", "panacea"]
    logged = read_lines(runs.root / runs.row / "metrics.jsonl")
    assert row["run"]["generated_tokens"] == sum(line["spent/generated_tokens"] for line in logged) > 0
    assert row["chain"]["trained_tokens"] == sum(stage["trained_tokens"] for stage in row["stages"])
    assert sft["run"]["generated_tokens"] == 0 and sft["run"] == sft["chain"]


def test_answers_are_sampled_once(runs, compared, monkeypatch, undrawn):
    import mora.run.compare

    before = (compared / "tables" / "compare.json").read_bytes()
    assert {path.name for path in (compared / "measured").iterdir()} == {runs.row, runs.batch, runs.sft}
    monkeypatch.setattr(mora.run.compare, "front_of", None)
    ask(runs, f"[{runs.row},{runs.batch},{runs.sft}]")
    again = newest(runs)
    assert again.name == compared.name and (again / "tables" / "compare.json").read_bytes() == before


def test_tables_of_a_run_that_fit_are_used_and_others_are_not(runs, compared, monkeypatch, undrawn):
    import mora.run.compare

    given = [f"run={runs.row}", f"paths.runs={runs.root}", *ASKED]
    evaluate(mora.compose(*given, command="evaluate"), given)
    sampled: list[str] = []
    original = mora.run.compare.front_of
    monkeypatch.setattr(
        mora.run.compare,
        "front_of",
        lambda folder, *rest, **more: sampled.append(folder.id) or original(folder, *rest, **more),
    )
    ask(runs, f"{{mine: {runs.row}, theirs: {runs.batch}}}")
    assert sampled == [runs.batch]
    own = read_json(newest(runs) / "tables" / "compare.json")["methods"]
    other = read_json(compared / "tables" / "compare.json")["methods"]
    assert [method["name"] for method in own] == ["mine", "theirs"]
    assert [p["unscaled"] for p in own[0]["points"]] == [p["unscaled"] for p in other[0]["points"]]


def test_runs_under_one_name_are_seeds_of_one_method(runs, undrawn):
    ask(runs, f"{{both: [{runs.row},{runs.batch}], start: [{runs.sft}]}}")
    both, start = read_json(newest(runs) / "tables" / "compare.json")["methods"]
    assert len(both["fronts_by_seed"]) == 2 and len(start["fronts_by_seed"]) == 1
    assert both["covers"] == "new prompts and newly trained seeds"


def test_a_learned_judge_that_trained_the_policies_is_warned_about(runs, compared, undrawn):
    ask(runs, f"[{runs.row},{runs.batch}]", f"evaluation.judge={runs.reward}")
    table = read_json(newest(runs) / "tables" / "compare.json")
    assert table["judge"] == {
        "name": runs.reward,
        "kind": "reward model",
        "unit": "standard deviations of the reference policy",
    }
    assert all(method["judge_trained_it"] for method in table["methods"]) and table["world"] is None
    assert any(f"The judge {runs.reward} trained panacea unit=row, panacea unit=batch" in w for w in table["warnings"])
    gold = read_json(compared / "tables" / "compare.json")
    assert table["methods"][0]["points"][0]["scores"] != gold["methods"][0]["points"][0]["scores"]


def opened(folder: Path, trainer: str, *, seed: int = 0, data: str = "data") -> Opened:
    """A run in name only."""
    config = {
        "model": {"name": "tiny", "smoke": False},
        "reward": {"_target_": "learned", "origin": "trained"},
        "dataset": {},
        "seed": seed,
    }
    identity = {"upstream": {"reward": trainer}, "dataset": data}
    return Opened(folder=SimpleNamespace(id=folder.name, path=folder, identity=identity), config=config)  # type: ignore[arg-type]


@pytest.fixture
def warned(monkeypatch) -> Callable[..., list[str]]:
    """What is said of groups of runs whose data holds no prompt that was trained on."""
    none: dict[str, list[Any]] = {"train": []}
    data = SimpleNamespace(prompts=none, supervised=none, pairs=none)
    monkeypatch.setattr(compare, "load_corpus", lambda config: data)

    def ask_for(groups: dict[str, list[Opened]], judge: str, test: tuple[str, ...] = ("p",)) -> list[str]:
        prompts = {"train": [], "test": [SimpleNamespace(prompt=p) for p in test]}
        corpus: Any = SimpleNamespace(prompts=prompts, asked="test" if test else "train")
        evaluator: Any = SimpleNamespace(rows=lambda corpus: corpus.prompts["test"])
        return compare._warnings(groups, judge, corpus, evaluator)

    return ask_for


def test_a_judge_that_trained_one_seed_is_told(tmp_path, warned):
    groups = {
        "mixed": [opened(tmp_path / "a", "reward-1"), opened(tmp_path / "b", "reward-2", seed=1)],
        "other": [opened(tmp_path / "c", "reward-2"), opened(tmp_path / "d", "reward-2", seed=1)],
    }
    (told,) = warned(groups, "reward-1")
    assert told.startswith("The judge reward-1 trained mixed: ")
    assert "trained mixed, other" in warned(groups, "reward-2")[0]
    assert warned(groups, "reward-3") == []


def test_what_else_a_reader_must_know_is_told(tmp_path, warned):
    pair = [opened(tmp_path / "a", "r"), opened(tmp_path / "b", "r")]
    (told,) = warned({"twice": pair}, "gold")
    assert told == "twice has runs of the same seed (0, 0): they are no repetitions."
    other = [opened(tmp_path / "a", "r"), opened(tmp_path / "b", "r", seed=1, data="other")]
    (told,) = warned({"both": other}, "gold")
    assert told == "The prompts are those of a; b had other data."
    (told,) = warned({"one": [opened(tmp_path / "a", "r"), opened(tmp_path / "b", "r", seed=1)]}, "gold", test=())
    assert "a has no held-out prompts" in told and "say nothing of new prompts" in told


def test_the_page_is_drawn_from_the_tables_alone(compared, tmp_path, capsys, unfiled):
    alone = tmp_path / compared.name
    shutil.copytree(compared / "tables", alone / "tables")
    assert redraw([str(alone)]) == 0
    files = [path.relative_to(compared) for path in (compared / "report").rglob("*") if path.is_file()]
    assert Path("report/figures/fronts.png") in files
    for file in files:
        assert (alone / file).read_bytes() == (compared / file).read_bytes(), file
    assert redraw([str(tmp_path)]) == 2
    assert "holds no tables" in capsys.readouterr().err


def test_a_policy_without_an_adapter_has_a_front_of_one_point(runs, undrawn):
    given = [f"run={runs.sft}", f"paths.runs={runs.root}", *ASKED]
    evaluate(mora.compose(*given, command="evaluate"), given)
    table = read_json(runs.root / runs.sft / "tables" / "front.json")
    assert table["steered"] is False and table["scorers"]["gold"]["trained the policy"] is False
    assert len(table["points"]) == 3 and {tuple(p["gold"]) for p in table["points"]} == {
        tuple(table["reference"]["gold"])
    }
    rows = read_lines(runs.root / runs.sft / "tables" / "samples.jsonl")
    assert len(rows) == 8 * 2 and all(row["preference"] is None for row in rows)


@pytest.mark.parametrize(
    ("named", "overrides", "said"),
    [
        ("[{reward}]", [], "holds no policy; name runs that trained one"),
        ("[{row},{row}]", [], "{row} is named twice"),
        ("[{row},nowhere]", [], "runs=nowhere"),
        ("", [], "runs is missing"),
        ("[{row}]", ["run={row}"], "run is not for this evaluation; it takes runs"),
        ("{row}", [], "write a list"),
        ("[{row}]", ["evaluation=front"], "run is missing"),
        ("[{row}]", ["evaluation.judge={row}"], "trained no reward model"),
        ("[{row}]", ["evaluation.prompts=7"], "7 prompts are too few"),
        ("[{row}]", ["evaluation.judge=gold"], "use null"),
        ("[{row}]", ["evaluation.preferences=[[0,1],[0,1],[1,0]]"], "one preference is named twice"),
        ("{{a: [], b: [{row}]}}", [], "a names no run"),
        ("[{row}]", ["evaluation.resamples=0"], "a comparison needs intervals"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, named, overrides, said):
    words = vars(runs)
    with pytest.raises((InputError, InstantiationException)) as refused:
        if "evaluation=front" in overrides:
            given = ["evaluation=front", f"paths.runs={runs.root}", f"runs={named.format(**words)}"]
            evaluate(mora.compose(*given, command="evaluate"), given)
        else:
            ask(runs, named.format(**words), *(text.format(**words) for text in overrides))
    assert said.format(**words) in str(refused.value)


def test_runs_of_other_objectives_are_refused(runs, tmp_path):
    other = changed(runs, tmp_path, lambda config: config["objectives"].update(names=["care", "cure"]))
    with pytest.raises(InputError, match="has the objectives cure, care, .* has care, cure"):
        ask(runs, f"[{runs.row},{other}]")


def test_an_unfinished_run_is_refused(runs, tmp_path):
    other = changed(runs, tmp_path, lambda config: None)
    write_json(other / "status.json", {"state": "running"})
    with pytest.raises(InputError, match="is not finished"):
        ask(runs, f"[{runs.row},{other}]")


def changed(runs: SimpleNamespace, folder: Path, change: Any) -> Path:
    copy = shutil.copytree(runs.root / runs.row, folder / "another")
    config = OmegaConf.to_container(OmegaConf.load(copy / "config.yaml"))
    change(config)
    write_text(copy / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    return copy


def test_training_refuses_to_end_in_a_comparison(runs):
    overrides = [
        *(o for o in chain_options(runs.root) if not o.startswith("evaluation.")),
        "evaluation=compare",
        "seed=5",
    ]
    with pytest.raises(InputError, match="takes finished runs"):
        train(mora.compose(*overrides), overrides)


def test_a_comparison_that_fails_leaves_no_folder(runs, undrawn, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise InputError("the judge is gone")

    before = {path.name for path in runs.root.iterdir() if path.is_dir()}
    monkeypatch.setattr(compare, "judge_answers", fail)
    with pytest.raises(InputError, match="the judge is gone"):
        ask(runs, f"[{runs.batch},{runs.row}]", "evaluation.resamples=101")
    assert {path.name for path in runs.root.iterdir() if path.is_dir()} == before
