"""The examples of docs/adding.md, word for word; the names and roles of an algorithm, and what is refused of them."""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from omegaconf import OmegaConf
from transformers import LlamaConfig, LlamaForCausalLM

import mora
from mora.evaluate import evaluate
from mora.files import read_json, read_lines, write_json
from mora.latest import find_latest
from mora.reward.scorer import ModelScorer
from mora.run import execute
from mora.run.build import build, load_corpus
from mora.run.meaning import refuse_stage_without_meaning
from mora.run.plan import Stage, plan
from mora.runtime.folder import RunFolder
from mora.settings.launch import launch
from mora.settings.methods import differing, labels
from mora.settings.permitted import granted_only
from mora.settings.stored import stored_config
from mora.train import train
from tests.chain import chain_options, without_pictures
from tests.judgments import judgments

PAGE = (Path(__file__).parents[1] / "docs" / "adding.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`(\S+)`:\n\n```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [command.split() for command in re.findall(r"```bash\npython -m mora\.(.*?)\n```", PAGE)]
TASKS = {"train": train, "evaluate": evaluate}
YAML = FILES["mine/algo/soup.yaml"]


class Kitchen:
    """A package and a folder of settings of the user's own, as the page has them."""

    def __init__(self, path: Path) -> None:
        self.path, self.mine = path, path / "mine"
        for name, text in {"kitchen/__init__.py": "", **FILES}.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)

    def write(self, name: str, text: str, group: str = "algo") -> None:
        (self.mine / group).mkdir(parents=True, exist_ok=True)
        (self.mine / group / f"{name}.yaml").write_text(text)

    def changed(self, file: str, /, **keys: str) -> None:
        """The soup under another name of a file, with other values of keys."""
        text = YAML
        for key, value in keys.items():
            text = re.sub(rf"^{key}: .*\n", f"{key}: {value}\n" if value else "", text, flags=re.MULTILINE)
        self.write(file, text)

    def run(self, *overrides: str, task: Any = None) -> tuple[int, list[Stage]]:
        """Exit code and stages of a training command; ``task`` is done with them as training would be."""
        found: list[Stage] = []

        def planned(cfg: Any, given: list[str]) -> None:
            found.extend(plan(cfg, given))
            if task is not None:
                task(found)

        argv = ["--config-dir", str(self.mine), "plugins=[kitchen]", f"paths.runs={self.path / 'runs'}", *overrides]
        return launch("train", planned, argv), found


def imported_from(path: Path, patch: pytest.MonkeyPatch) -> None:
    """The package is found below ``path``, and not where another test had it."""
    patch.syspath_prepend(str(path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "kitchen"]:
        patch.delitem(sys.modules, name)


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    imported_from(tmp_path, monkeypatch)
    return Kitchen(tmp_path)


def test_two_runs_fill_a_role_that_no_code_of_mora_names(kitchen: Kitchen) -> None:
    code, (first, second, soup) = kitchen.run("algo=soup", "seed=7")
    assert code == 0
    assert [first.algo, second.algo, soup.algo] == ["sft", "sft", "soup"]
    assert [stage.config["seed"] for stage in (first, second, soup)] == [0, 1, 7]
    assert [stage.config["runtime"]["seed"] for stage in (first, second, soup)] == [0, 1, 7]
    assert soup.identity["upstream"] == {"members.0": first.id, "members.1": second.id}
    assert soup.upstream == {f"members.{i}": str(stage.path / "model") for i, stage in enumerate((first, second))}
    assert soup.id.startswith("soup-tiny-garden-")
    for seed, stage in enumerate((first, second)):
        overrides = [f"paths.runs={kitchen.path / 'runs'}", f"seed={seed}", "algo=sft"]
        assert plan(mora.compose(*overrides), overrides)[-1].id == stage.id


def test_the_algorithm_gets_what_fills_its_roles(kitchen: Kitchen) -> None:
    def cook(stages: list[Stage]) -> None:
        from mora.run.execute import context_of
        from mora.run.plan import texts

        *members, soup = stages
        for number, stage in enumerate(members):
            model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=4, intermediate_size=4,
                                                 num_hidden_layers=1, num_attention_heads=1))  # fmt: skip
            for parameter in model.parameters():
                torch.nn.init.constant_(parameter, 1.0 + number)
            model.save_pretrained(stage.path / "model")
        runtime = build(soup.config["runtime"])
        folder = RunFolder.open(Path(soup.config["paths"]["runs"]), soup.slug, soup.identity, **texts(soup))
        context = context_of(soup, folder, runtime)
        assert context.upstream == {"members": tuple(str(stage.path / "model") for stage in members)}
        assert context.reward is None and context.provenance["members.1_run"] == members[1].id
        import kitchen.soup

        named = SimpleNamespace(from_pretrained=lambda folder: SimpleNamespace(save_pretrained=lambda to: None))
        kitchen.soup.AutoTokenizer = named  # type: ignore[attr-defined]
        assert build(soup.config["algo"], _partial_=True)(context=context).fit() == {"models": 2.0}
        made = LlamaForCausalLM.from_pretrained(soup.path / "model")
        assert all(bool((parameter == 1.25).all()) for parameter in made.parameters())

    small = ["dataset.supervised={train: 64, test: 8}", "dataset.pairs={train: 64, test: 16}"]
    assert kitchen.run("algo=soup", "algo.first=0.75", *small, task=cook)[0] == 0


def test_the_user_names_what_fills_a_role_that_the_algorithm_alone_knows(
    kitchen: Kitchen, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [kitchen.path / name for name in ("salt", "pepper")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text(str(number))
    code, stages = kitchen.run("algo=soup", f"start.members=[{folders[0]},{folders[1]}]")
    assert code == 0 and [stage.algo for stage in stages] == ["soup"]
    assert stages[0].upstream == {f"members.{number}": str(folder) for number, folder in enumerate(folders)}
    for odd in ("algo=soup", "start.membrs=x"), ("algo=sft", "start.members=x"):
        assert kitchen.run(*odd)[0] == 2
        said = capsys.readouterr().err
        assert f"{odd[1].partition('=')[0]}: unknown key" in said and "(there are " in said
        assert ("start.members, " in said) == ("algo=soup" in odd)


def test_two_names_over_one_class_are_two_algorithms(kitchen: Kitchen) -> None:
    kitchen.write("broth", "defaults: [soup, _self_]\nname: broth\n")
    stages = [kitchen.run(f"algo={name}")[1][-1] for name in ("soup", "broth")]
    assert [stage.id.partition("-")[0] for stage in stages] == ["soup", "broth"]
    assert stages[0].id.rpartition("-")[2] != stages[1].id.rpartition("-")[2]
    assert stages[0].runs == stages[1].runs
    configs = [stage.config for stage in stages]
    assert labels(configs) == ["soup", "broth"] and differing(configs) == [{"algo": "soup"}, {"algo": "broth"}]
    for day, stage in enumerate(stages, 1):
        write_json(stage.path / "identity.json", stage.identity)
        time = f"2026-01-{day:02d}T00:00:00+00:00"
        write_json(stage.path / "status.json", {"state": "finished", "finished_at": time})
    for stage in stages:
        assert find_latest(f"latest:{stage.algo}", kitchen.path / "runs") == stage.path


def test_another_seed_reaches_what_follows_it(kitchen: Kitchen) -> None:
    """A teacher of one's own for each seed: the samples that its members are trained on are drawn anew."""
    each = "{ensembles: {train: [algo=reward_model, reward=ensemble], each: {seed: [3, 4]}}}"
    kitchen.changed("soup", needs=each)
    *_, soup = stages = kitchen.run("algo=soup")[1]
    made = [stage for stage in stages if stage.algo == "reward_model"]
    assert [stage.config["reward"]["seed"] for stage in made] == [3, 4]
    assert set(soup.upstream) == {"ensembles.0", "ensembles.1"}
    assert [stage.config["seed"] for stage in stages if stage.algo == "sft"] == [3, 4]
    for stage in made:
        assert plan(mora.compose(*stage.overrides), stage.overrides)[-1].id == stage.id


def test_what_is_declared_and_not_done_changes_no_run(kitchen: Kitchen) -> None:
    before = kitchen.run("algo=soup")[1][-1].id
    kitchen.changed("soup", rows="prompts")
    assert kitchen.run("algo=soup")[1][-1].id == before
    kitchen.changed("soup", needs="{members: {train: [algo=sft], each: {seed: [0, 2]}}}")
    assert kitchen.run("algo=soup")[1][-1].id != before


REFUSED = {
    "no name": ({"name": ""}, "algo.name=null"),
    "a path": ({"name": "../../elsewhere"}, "algo.name=../../elsewhere"),
    "capitals": ({"name": "Soup"}, "algo.name=Soup"),
    "a long name": ({"name": "s" * 41}, "algo.name=sss"),
    "a number": ({"name": "5"}, "algo.name=5"),
    "another product": ({"produces": "stew"}, "algo.produces=stew"),
    "other rows": ({"rows": "columns"}, "algo.rows=columns"),
    "no data": ({"reads": "[model]"}, "algo.reads=[model]"),
    "a section that determines nothing": ({"reads": "[model, dataset, objectives, paths]"}, "algo.reads=["),
    "a section twice": ({"reads": "[model, dataset, objectives, model]"}, "algo.reads=["),
    "no mapping": ({"needs": "[policy]"}, "algo.needs=[policy]"),
    "an odd role": ({"needs": "{a.b: {train: [algo=sft]}}"}, "algo.needs.a.b"),
    "a role that is a list of start": ({"needs": "{sft: {train: [algo=sft]}}"}, "algo.needs.sft"),
    "an unknown key": ({"needs": "{policy: {trian: [algo=sft]}}"}, "algo.needs.policy={'trian'"),
    "neither train nor produces": ({"needs": "{policy: {}}"}, "algo.needs.policy: say by train"),
    "both": ({"needs": "{policy: {train: [algo=sft], produces: model}}"}, "algo.needs.policy.produces"),
    "no overrides": ({"needs": "{policy: {train: sft}}"}, "algo.needs.policy.train=sft"),
    "a role of one run": (
        {"needs": "{policy: {train: [algo=sft], each: {seed: [0, 1]}}}"},
        "algo.needs.policy.each",
    ),
    "no list of values": ({"needs": "{policy: {train: [algo=sft], each: {seed: 1}}}"}, "algo.needs.policy.each"),
    "where it writes": ({"needs": "{policy: {train: [algo=sft, paths.runs=x]}}"}, "paths.runs does not determine"),
    "packages": ({"needs": "{policy: {train: [algo=sft, 'plugins=[os]']}}"}, "plugins does not determine"),
    "a key of nothing chosen": ({"needs": "{policy: {train: [reward.atoms=3]}}"}, "choose it first, as in reward="),
    "an unknown choice": ({"needs": "{policy: {train: [algo=stf]}}"}, "algo.needs.policy: 1 problem"),
    "itself": ({"needs": "{policy: {train: [algo=soup]}}"}, "in a circle (soup -> soup"),
    "one that needs it": ({"needs": "{policy: {train: [algo=other]}}"}, "in a circle (soup -> other -> soup"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_yaml_may_not_say_is_refused_before_anything_is_trained(
    kitchen: Kitchen, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    keys, said = REFUSED[name]
    kitchen.changed("other", name="other", needs="{policy: {train: [algo=soup]}}")
    kitchen.changed("soup", **keys)
    code, stages = kitchen.run("algo=soup")
    assert code == 2 and stages == []
    assert said in capsys.readouterr().err
    assert not (kitchen.path / "runs").exists()


# --- the other sections, from the command to what it wrote -----------------------------------------------------------


def written(number: int, *more: str) -> int:
    """Exit code of a command of the page, with more overrides, in the folder that it is meant for."""
    command, *argv = COMMANDS[number]
    return launch(command, TASKS[command], [*argv, *more])


LENGTHS = """
from dataclasses import dataclass

from mora.evaluation.front import Front
from mora.files import record_json


@dataclass(kw_only=True)
class Lengths(Front):
    def measure_run(self, run):
        table, samples = run.front(self)
        tokens = [sum(row["tokens"] for row in samples if row["preference"] == point["preference"])
                  / (table["prompts"] * self.samples) for point in table["points"]]
        record_json(run.folder.tables / "lengths.json", {"longest": max(tokens), "objectives": table["objectives"]})
        return "lengths"
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    """The page's files, and the runs that its command for a reward kind makes, in two steps each."""
    path = tmp_path_factory.mktemp("kitchen")
    with pytest.MonkeyPatch.context() as patch:
        imported_from(path, patch)
        patch.chdir(path)
        without_pictures(patch)
        kitchen = Kitchen(path)
        (path / "kitchen" / "lengths.py").write_text(LENGTHS)
        assert written(1, *chain_options(path / "runs")) == 0
        yield kitchen


def only(path: Path, pattern: str) -> Path:
    (found,) = path.glob(pattern)
    return found


def test_a_reward_kind_trains_a_policy(trained: Kitchen) -> None:
    reward, policy = (only(trained.path, f"runs/{name}-tiny-garden-slips-*") for name in ("reward_model", "panacea"))
    card = read_json(reward / "reward" / "reward.json")
    assert card["reward"] == {"_target_": "kitchen.slips.Slips", "slips": 0.1} and card["standardization"]
    front = read_json(policy / "tables" / "front.json")
    assert front["scorers"]["reward"]["run"] == reward.name and len(front["points"]) == 3
    assert read_json(reward / "tables" / "reward.json")["kind"] == "slips"
    members = "reward=ensemble", "reward@reward.member=slips"
    code, stages = trained.run("algo=reward_model", *members, task=lambda stages: build(stages[-1].config["reward"]))
    assert code == 0 and stages[-1].config["reward"]["member"]["_target_"] == "kitchen.slips.Slips"


def test_the_likelihood_of_the_reward_kind_is_that_of_its_text(trained: Kitchen) -> None:
    from kitchen.slips import Slips  # type: ignore[import-not-found]

    kind = Slips(slips=0.1)
    leads = torch.tensor([-30.0, -1.0, 0.0, 2.0, 30.0], dtype=torch.float64)
    raw_0, raw_1 = torch.zeros(5, 1, 1, dtype=torch.float64), leads.view(5, 1, 1).requires_grad_()
    wins, losses = kind.log_wins(raw_1, raw_0).exp(), kind.log_wins(raw_0, raw_1).exp()
    torch.testing.assert_close(wins.squeeze(1), 0.1 + 0.8 * leads.sigmoid())
    torch.testing.assert_close(wins + losses, torch.ones(5, 1, dtype=torch.float64))
    torch.testing.assert_close(torch.stack(kind.against_zero(raw_1)).exp(), torch.stack([wins, losses]))
    loss = kind.loss(raw_0, raw_1, judgments(torch.ones(5, 1)))
    assert loss[0].item() == pytest.approx(-math.log(0.1))  # what a slip costs at most
    loss.sum().backward()
    assert raw_1.grad is not None and abs(raw_1.grad[0]) < 1e-9 < abs(raw_1.grad[1])  # a sure pair outvotes its label
    none = kind.loss(raw_0, raw_1, judgments(torch.ones(5, 1), torch.zeros(5, 1, dtype=torch.bool)))
    assert (none == 0).all()
    code, _ = trained.run("reward=slips", "reward.slips=0.5", task=lambda stages: build(stages[-1].config["reward"]))
    assert code == 2


def test_a_reward_kind_is_of_the_origin_that_its_class_says(trained: Kitchen, capsys: Any) -> None:
    other = "reward=slips", "reward.origin=rules"
    code, _ = trained.run(*other, task=lambda stages: refuse_stage_without_meaning(stages[-1]))
    assert code == 2 and "reward.origin=rules: a slips reward is trained" in capsys.readouterr().err


@pytest.mark.parametrize(("evaluation", "done"), [("phrase", "kitchen.phrase"), ("reward_model", "nothing to measure")])
def test_only_an_evaluation_that_needs_held_out_pairs_is_left_out_without_them(
    trained: Kitchen, monkeypatch: pytest.MonkeyPatch, evaluation: str, done: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(execute, "measure", lambda *given, seed: asked.append(given[2]["_target_"]))
    monkeypatch.setattr(execute, "note_measured", lambda *_, seed: asked.append("nothing to measure"))
    corpus, runtime = SimpleNamespace(pairs={"test": []}), SimpleNamespace(on_main=lambda work: work())

    def task(stages: list[Stage]) -> None:
        execute.measured_once(stages[-1], cast(Any, None), cast(Any, corpus), cast(Any, runtime))

    assert trained.run("algo=reward_model", f"evaluation={evaluation}", task=task)[0] == 0
    assert len(asked) == 1 and asked[0].startswith(done)


def test_an_evaluation_measures_a_reward_model(trained: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    run = only(trained.path, "runs/reward_model-*")
    more = f"paths.runs={run.parent}", "evaluation.answers=5"
    assert written(2, *more) == 0
    said = capsys.readouterr().out
    table = read_json(run / "tables" / "phrase.json")
    with granted_only(["kitchen"]):
        scorer, rows = ModelScorer.load(run / "reward", "cpu"), load_corpus(stored_config(run)).pairs["test"]
    assert len(rows) == 16 and table["answers"] == 5
    asked = [rows[number] for number in (0, 3, 6, 9, 12)]
    for column, name in enumerate(scorer.objectives):
        scores = [
            [scorer.score([row.prompt], [row.responses[0] + end]).atoms[0, column, 0].item() for row in asked]
            for end in ("", " I hope this helps!")
        ]
        gains = [after - before for before, after in zip(*scores, strict=True)]
        assert table["gain"][name] == pytest.approx(sum(gains) / 5, abs=1e-5)
        assert table["share_raised"][name] == sum(gain > 0 for gain in gains) / 5
        assert re.search(rf"gain\.{name} +{table['gain'][name]:.4g}\n", said)
    assert "accuracy" not in said and (run / "report" / "index.html").is_file()
    assert read_json(run / "tables" / "measured.json")["phrase"]["evaluation"]["answers"] == 5


def test_a_command_that_trains_measures_by_it_and_once(trained: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    run = only(trained.path, "runs/reward_model-*")
    made = list(OmegaConf.load(run / "overrides.yaml").overrides)
    table, measured = run / "tables" / "phrase.json", []
    for answers in (3, 3, 4):
        argv = ["--config-dir", "mine", *made, "evaluation=phrase", f"evaluation.answers={answers}"]
        assert launch("train", train, argv) == 0
        measured.append("measuring" in capsys.readouterr().err)
        assert read_json(table)["answers"] == answers
    assert measured == [True, False, True]


def test_an_evaluation_of_a_policy_builds_on_the_front(trained: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    trained.write("lengths", "defaults: [front, _self_]\n_target_: kitchen.lengths.Lengths\n", "evaluation")
    run = only(trained.path, "runs/panacea-*")
    front = (run / "tables" / "front.json").read_bytes()
    same = [option for option in chain_options(run.parent) if option.startswith(("evaluation.", "paths."))]
    argv = ["--config-dir", "mine", "plugins=[kitchen]", "run=latest:panacea", "evaluation=lengths", *same]
    assert launch("evaluate", evaluate, argv) == 0
    longest = read_json(run / "tables" / "lengths.json")["longest"]
    rows = read_lines(run / "tables" / "samples.jsonl")  # of the same settings: the same answers
    tokens: dict[tuple[float, ...], list[int]] = {}
    for row in rows:
        tokens.setdefault(tuple(row["preference"] or ()), []).append(row["tokens"])
    del tokens[()]
    assert len(tokens) == 3 and longest == max(sum(own) / len(own) for own in tokens.values())
    assert re.search(rf"^longest +{longest:.4g}$", capsys.readouterr().out, re.MULTILINE)
    assert (run / "tables" / "front.json").read_bytes() == front


def test_an_evaluation_that_cannot_measure_is_refused_before_training(kitchen: Kitchen) -> None:
    from mora.errors import InputError
    from mora.run.meaning import refuse_without_meaning

    def refused(stages: list[Stage]) -> None:
        with pytest.raises(InputError, match=r"kitchen\.slips\.Slips: has no method measure_run"):
            refuse_without_meaning(stages[-1])

    kitchen.write("empty", "_target_: kitchen.slips.Slips\nmeasures: policy\ntakes: run\nslips: 0.1\n", "evaluation")
    assert kitchen.run("evaluation=empty", task=refused)[0] == 0


def test_a_dataset_of_votes_trains_a_reward_model(trained: Kitchen) -> None:
    names = ["clear_votes_0", "clear_votes_1", "kind_votes_0", "kind_votes_1"]
    votes = [[3, 1, 0, 0], [1, 3, 2, 2], [0, 4, -1, 0], *([n % 3, 1, 1, n % 2] for n in range(37))]
    with (trained.path / "votes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["question", "answer_0", "answer_1", *names])
        for number, row in enumerate(votes):
            table.writerow([f"How is soup {number} made?", "With water.", "With patience.", *row])
    short = ["model=micro", "algo.steps=1", "algo.epochs=null", "start.sft=[algo.steps=1,algo.epochs=null]"]
    limits = ["dataset.max_prompt=64", "dataset.max_response=64"]
    assert written(3, *short, *limits, f"paths.runs={trained.path / 'runs'}") == 0
    run = only(trained.path, "runs/reward_model-micro-votes-*")
    assert read_json(run / "reward" / "reward.json")["objectives"] == ["clear", "kind"]
    data, (bad,) = read_json(run / "dataset.json"), read_lines(run / "quarantine.jsonl")
    assert data["records"]["used"] == 39 and sum(data["rows"]["pairs"].values()) == 39
    assert bad["where"].endswith("votes.csv:4") and "'kind_votes_0' must lie between 0 and 1000" in bad["reason"]
    with granted_only(["kitchen"]):
        pairs = load_corpus(stored_config(run)).pairs
    labels = {row.prompt: row.labels for rows in pairs.values() for row in rows}
    assert labels["How is soup 0 made?"] == {"clear": 0.25, "kind": None}
    assert labels["How is soup 1 made?"] == {"clear": 0.75, "kind": 0.5}
