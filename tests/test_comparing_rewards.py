"""Comparing reward models by the command, on tiny runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

import mora
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.files import read_json, write_json, write_text
from mora.report.__main__ import main as redraw
from mora.run import compare_rewards
from mora.run.plan import plan
from mora.train import train
from mora.types import Row
from tests.chain import chain_options, without_files, without_pictures

QUICK = (
    "evaluation.resamples=100",
    "evaluation.curve_points=5",
    "evaluation.density_points=9",
    "evaluation.quality.points=4",
)


@pytest.fixture(scope="module")
def runs(chain, tmp_path_factory) -> SimpleNamespace:
    """The runs of the chain, whose reward is qr, elsewhere; and two seeds of a scalar reward."""
    root = tmp_path_factory.mktemp("rewards") / "runs"
    shutil.copytree(chain[1][-1].path.parent, root)
    sft, reward, policy = (stage.id for stage in chain[1])
    kept = [o for o in chain_options(root) if not o.startswith(("algo.", "evaluation.", "start."))]
    made = {}
    for name, seed in {"scalar": 0, "again": 1}.items():
        overrides = [*kept, "algo=reward_model", "reward=scalar", f"seed={seed}", f"start.policy={root / sft}",
                     "algo.epochs=null", "algo.steps=2", "algo.batch_size=16", "algo.reference_prompts=8",
                     "algo.reference_samples=2"]  # fmt: skip
        cfg = mora.compose(*overrides)
        with pytest.MonkeyPatch.context() as patch:
            without_pictures(patch)
            train(cfg, overrides)
        made[name] = plan(cfg, overrides)[-1].id
    return SimpleNamespace(root=root, sft=sft, qr=reward, policy=policy, **made)


def ask(runs: SimpleNamespace, named: str, *overrides: str) -> Path:
    """The command ``mora.evaluate evaluation=compare_rewards`` with ``named`` as its runs; the newest folder."""
    given = ["evaluation=compare_rewards", f"paths.runs={runs.root}", f"runs={named}", *QUICK, *overrides]
    evaluate(mora.compose(*given, command="evaluate"), given)
    found = runs.root.glob("compare_rewards-*/tables/reward_comparison.json")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parents[1]


@pytest.fixture(scope="module")
def compared(runs) -> Path:
    """A comparison with its page, apart from where others write theirs."""
    with pytest.MonkeyPatch.context() as patch:
        without_files(patch)
        made = ask(runs, f"[{runs.scalar},{runs.qr},{runs.again}]")
    return shutil.copytree(made, made.parents[1] / "kept" / made.name)


def test_seeds_are_grouped_and_methods_named_by_their_reward(runs, compared):
    table = read_json(compared / "tables" / "reward_comparison.json")
    assert table["comparison"] == compared.name and compared.name.startswith("compare_rewards-garden-")
    methods = {method["name"]: method for method in table["methods"]}
    assert list(methods) == ["scalar", "quantile"]
    assert methods["scalar"]["runs"] == [runs.scalar, runs.again] and methods["scalar"]["seeds"] == [0, 1]
    assert methods["quantile"]["runs"] == [runs.qr] and methods["quantile"]["kind"] == "quantile"
    assert methods["scalar"]["covers"] == "new prompts and newly trained seeds"
    (pair,) = table["pairs"]
    assert pair["covers"] == "new prompts, these trained reward models"  # one of the two has one seed
    assert table["held_out"] == 16 and table["dataset"]["run"] == runs.scalar
    said = " ".join(table["warnings"])
    assert "Smoke model" in said and "One seed of quantile" in said and f"with another seed: {runs.again}" in said


def test_all_judge_the_pairs_of_the_first_run(runs, compared):
    """Runs of that seed judge them as for their own tables; the own table of another seed is of other pairs."""
    here = {}
    for method in read_json(compared / "tables" / "reward_comparison.json")["methods"]:
        for place, run in enumerate(method["runs"]):
            here[run] = {o: m["log_loss"]["by_seed"][place] for o, m in method["metrics"].items()}
    for run in (runs.scalar, runs.qr):
        assert here[run] == pytest.approx(read_json(runs.root / run / "tables" / "reward.json")["log_loss"], rel=1e-5)
    own = read_json(runs.root / runs.again / "tables" / "reward.json")["log_loss"]
    assert here[runs.again] != pytest.approx(own, rel=1e-3)


def test_the_page_is_drawn_from_the_tables_alone(compared, tmp_path, capsys, unfiled):
    alone = tmp_path / compared.name
    shutil.copytree(compared / "tables", alone / "tables")
    assert redraw([str(alone)]) == 0
    files = [path.relative_to(compared) for path in (compared / "report").rglob("*") if path.is_file()]
    assert len(files) > 10
    for file in files:
        assert (alone / file).read_bytes() == (compared / file).read_bytes(), file


def test_each_model_is_loaded_once(runs, compared, monkeypatch, undrawn):
    before = (compared / "tables" / "reward_comparison.json").read_bytes()
    loaded: list[str] = []
    original = compare_rewards._scorer
    monkeypatch.setattr(compare_rewards, "_scorer", lambda run: loaded.append(run.folder.id) or original(run))
    again = ask(runs, f"[{runs.scalar},{runs.qr},{runs.again}]")
    assert again.name == compared.name
    assert sorted(loaded) == sorted([runs.scalar, runs.qr, runs.again])
    assert (again / "tables" / "reward_comparison.json").read_bytes() == before


def test_names_can_be_given(runs, undrawn):
    folder = ask(runs, f"{{mine: {runs.scalar}, theirs: [{runs.qr},{runs.again}]}}")
    table = read_json(folder / "tables" / "reward_comparison.json")
    assert [(m["name"], m["runs"]) for m in table["methods"]] == [
        ("mine", [runs.scalar]), ("theirs", [runs.qr, runs.again])
    ]  # fmt: skip


def test_the_end_of_the_command_says_what_came_out(runs, capsys, undrawn):
    ask(runs, f"[{runs.scalar},{runs.qr}]")
    said = capsys.readouterr().out
    assert "the same 16 held-out pairs of" in said and "scalar against quantile" in said
    assert "accuracy of cure" in said and "log-loss of care" in said and "report: " in said


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("[{policy}]", "holds no reward model; name runs that trained one"),
        ("[{scalar},{scalar}]", "{scalar} is named twice"),
        ("{scalar}", "write a list"),
        ("[{scalar},nowhere]", "runs=nowhere"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, named, said):
    words = vars(runs)
    with pytest.raises((InputError, InstantiationException)) as refused:
        ask(runs, named.format(**words))
    assert said.format(**words) in str(refused.value)


def test_other_held_out_pairs_are_refused_in_words(runs, tmp_path):
    """As if the run had been trained on a dataset with fewer held-out pairs."""
    other = changed(runs, tmp_path, lambda config: config["dataset"]["pairs"].update(test=12))
    identity, data = read_json(other / "identity.json"), read_json(other / "dataset.json")
    identity["dataset"]["pairs"]["test"] = 12
    write_json(other / "identity.json", identity)
    write_json(other / "dataset.json", data | {"fingerprint": "other"})
    with pytest.raises(InputError) as refused:
        ask(runs, f"[{runs.scalar},{other}]")
    said = str(refused.value)
    assert f"{other.name} and {runs.scalar} have other held-out pairs" in said
    assert "dataset.pairs.test 12 against 16" in said and "12 pairs against 16, 12 in common" in said


def pairs_of(*prompts: str, world: bool = True) -> Any:
    """A corpus with a held-out pair for each prompt, and a training prompt."""
    held_out = [Row(prompt=prompt, responses=("a", "b"), labels={"up": 1.0}) for prompt in prompts]
    rows = {"train": [Row(prompt="trained on")], "test": held_out}
    return SimpleNamespace(objectives=("up",), pairs=rows, supervised=rows, world="world" if world else None)


def trained_on(name: str, data: str, **dataset: Any) -> Any:
    """A run in name only."""
    folder = SimpleNamespace(id=name, identity={"dataset": dataset})
    return SimpleNamespace(folder=folder, config={"dataset": dataset, "name": name}, data=data)


@pytest.fixture
def corpora(monkeypatch) -> dict[str, Any]:
    """The corpora of runs by their names."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(compare_rewards, "_data", lambda run: run.data)
    monkeypatch.setattr(compare_rewards, "load_corpus", lambda config: found[config["name"]])
    return found


def test_whose_pairs_may_differ(corpora):
    first, corpus = trained_on("first", "x", size=1), pairs_of("p", "q")
    corpora["seed"], corpora["other"] = pairs_of("p", "r"), pairs_of("p", "r", "trained on")
    assert compare_rewards._data_warnings([first, trained_on("twin", "x", size=2)], corpus) == []
    (told,) = compare_rewards._data_warnings([first, trained_on("seed", "y", size=1)], corpus)
    assert told == "The pairs are those of first; own ones were drawn from the same world with another seed: seed."
    for run, of_first in ((trained_on("other", "y", size=2), corpus), (trained_on("seed", "y", size=1), None)):
        with pytest.raises(InputError, match=f"{run.folder.id} and first have other held-out pairs .*1 in common"):
            compare_rewards._data_warnings([first, run], of_first or pairs_of("p", "q", world=False))


def test_prompts_that_were_trained_on_are_told(corpora):
    first = trained_on("first", "x")
    (told,) = compare_rewards._data_warnings([first], pairs_of("p", "trained on"))
    assert told == "Trained on 1 of the 2 prompts of the pairs: first."


def test_the_pairs_of_the_comparison_are_judged(corpora, monkeypatch):
    scorer = SimpleNamespace(select=lambda objectives: f"scorer for {objectives}")
    asked: list[Any] = []
    quality = SimpleNamespace(measure=lambda *given, kind: asked.append((*given, kind)) or ({}, [], []))
    monkeypatch.setattr(compare_rewards, "_scorer", lambda run: scorer)
    corpus, run = pairs_of("p", "q"), trained_on("seed", "y")
    corpora["seed"], run.config["reward"] = pairs_of("r"), {"_target_": "mora.reward.scalar.Scalar"}
    compare_rewards._judgement(run, corpus, SimpleNamespace(quality=quality))  # type: ignore[arg-type]
    assert asked == [("scorer for ('up',)", corpus.pairs["test"], "world", "scalar")]


def test_other_objectives_are_refused(runs, tmp_path):
    copy = changed(runs, tmp_path, lambda config: config["objectives"].update(names=["care", "cure"]))
    with pytest.raises(InputError, match="has the objectives cure, care, .* has care, cure"):
        ask(runs, f"[{runs.scalar},{copy}]")


def test_an_unfinished_run_is_refused(runs, tmp_path):
    copy = changed(runs, tmp_path, lambda config: None)
    write_json(copy / "status.json", {"state": "running"})
    with pytest.raises(InputError, match="is not finished"):
        ask(runs, f"[{runs.scalar},{copy}]")


def changed(runs: SimpleNamespace, folder: Path, change: Any) -> Path:
    copy = shutil.copytree(runs.root / runs.qr, folder / "another")
    config = OmegaConf.to_container(OmegaConf.load(copy / "config.yaml"))
    change(config)
    write_text(copy / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    return copy


def test_training_refuses_to_end_in_a_comparison_of_rewards(runs):
    overrides = [o for o in chain_options(runs.root) if not o.startswith("evaluation.")]
    overrides += ["evaluation=compare_rewards", "seed=5"]
    with pytest.raises(InputError, match="takes finished runs"):
        train(mora.compose(*overrides), overrides)


def test_a_comparison_that_fails_leaves_no_folder(runs, undrawn, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise InputError("the judge is gone")

    before = {path.name for path in runs.root.iterdir() if path.is_dir()}
    monkeypatch.setattr(compare_rewards, "_judgement", fail)
    with pytest.raises(InputError, match="the judge is gone"):
        ask(runs, f"[{runs.qr},{runs.scalar}]", "evaluation.resamples=101")
    assert {path.name for path in runs.root.iterdir() if path.is_dir()} == before
