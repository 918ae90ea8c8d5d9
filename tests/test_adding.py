"""An algorithm is one file and one YAML: the example of docs/adding.md, names, roles, and what is refused of them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import mora
from mora.files import write_json
from mora.latest import find_latest
from mora.run.build import build
from mora.run.plan import Stage, plan
from mora.runtime.folder import RunFolder
from mora.settings.launch import launch
from mora.settings.methods import differing, labels

PAGE = (Path(__file__).parents[1] / "docs" / "adding.md").read_text(encoding="utf-8")
SOUP, YAML = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[0] for kind in ("python", "yaml"))


class Kitchen:
    """A package and a folder of settings of the user's own, as the page has them."""

    def __init__(self, path: Path) -> None:
        self.path, self.mine = path, path / "mine"
        (path / "kitchen").mkdir()
        (path / "kitchen" / "__init__.py").write_text("")
        (path / "kitchen" / "soup.py").write_text(SOUP)
        self.write("soup", YAML)

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


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    monkeypatch.syspath_prepend(str(tmp_path))
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
        from mora.run.execute import parts_of
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
        parts = parts_of(soup, folder, runtime)
        assert parts.upstream == {"members": tuple(str(stage.path / "model") for stage in members)}
        assert parts.reward is None and parts.provenance["members.1_run"] == members[1].id
        import kitchen.soup

        named = SimpleNamespace(from_pretrained=lambda folder: SimpleNamespace(save_pretrained=lambda to: None))
        kitchen.soup.AutoTokenizer = named  # type: ignore[attr-defined]
        assert build(soup.config["algo"], _partial_=True)(parts=parts).fit() == {"models": 2.0}
        made = LlamaForCausalLM.from_pretrained(soup.path / "model")
        assert all(bool((parameter == 1.25).all()) for parameter in made.parameters())

    assert kitchen.run("algo=soup", "algo.first=0.75", task=cook)[0] == 0


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
