"""Whatever a configuration comes from, only objects that are meant for their place are built."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.security.strangers import Place, command

import mora
from mora.config import main as config_main
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.export import export
from mora.generate import generate
from mora.reward.card import kind_of
from mora.run.build import build
from mora.run.opened import open_run
from mora.score import score
from mora.settings.identity import plain
from mora.settings.permitted import FUNCTIONS, PLACES, granted_only
from mora.settings.stored import stored_config
from mora.settings.targets import targets
from mora.settings.tree import conf_dir
from mora.train import train


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Place(tmp_path)
    yield made
    assert not made.harmed()


LOAD = {"_target_": "numpy.load", "file": "evil.npy", "allow_pickle": True}
WRITE = {"_target_": "mora.files.write_text", "path": "written.txt", "text": "x"}
SECTIONS: dict[str, Any] = {
    "a function of a library": LOAD,
    "a package of the stranger": {"_target_": "payload.run"},
    "a public function of mora": WRITE,
    "the builder itself": {"_target_": "mora.run.build.build", "section": LOAD},
    "below a section that is meant": {"_target_": "mora.functional.risk.mean", "_partial_": True, "zz": LOAD},
    "in a list": [{"a": [LOAD]}],
    "without a section around it": {"zz": WRITE},
    "a class of mora at another's place": {"_target_": "mora.dataset.source.Source", "read": WRITE},
    "a private name": {"_target_": "mora.files._temporary", "path": "x"},
    "a name that is imported": {"_target_": "mora.run.build.get_object", "path": "payload.run"},
    "a method": {"_target_": "mora.reward.quantile.Quantile.belief"},
    "positional arguments": {"_target_": "mora.functional.risk.mean", "_partial_": True, "_args_": [1]},
    "an unrecursive section": {"_target_": "mora.runtime.track.NoTracker", "_recursive_": False},
    "a conversion": {"_target_": "mora.runtime.track.NoTracker", "_convert_": "none"},
    "a class half made": {"_target_": "mora.runtime.track.NoTracker", "_partial_": True},
    "no text": {"_target_": ["payload.run"]},
}


@pytest.mark.parametrize("name", SECTIONS)
def test_build_refuses(place, name):
    with pytest.raises(InputError):
        build(SECTIONS[name])


@pytest.mark.parametrize(
    "text", ["${oc.create:'{_target_: payload.run}'}", "\\${oc.create:'{_target_: payload.run}'}", "${oc.env:HOME}"]
)
def test_build_resolves_nothing(place, text):
    made = build({"_target_": "mora.runtime.track.Tensorboard", "folder": text})
    assert made.folder == text


PROGRAMS = {
    "attention": (["model=tiny", "model.attention=stranger/kernel"], "model"),
    "executable": (["tracker=wandb", "tracker.kwargs.settings={x_executable: ./evil}"], "tracker"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_value_has_a_library_run_a_program(place, name):
    overrides, section = PROGRAMS[name]
    with pytest.raises(InputError, match=name):
        build(mora.compose(*overrides)[section])


def test_build_makes_what_is_meant(place):
    made = build(plain(mora.compose("algo=panacea"))["algo"], _partial_=True)(context=None)
    assert type(made).__name__ == "PPO" and made.advantage.func.__name__ == "gae"
    assert build({}) == {} and build(mora.compose().runtime).precision == "fp32"


def at(path: str, value: Any):
    def change(tree: dict[str, Any]) -> None:
        *above, last = path.split("/")
        for step in above:
            tree = tree[step]
        tree[last] = value

    return change


STORED = {
    "model.zz": at("model/zz", LOAD),
    "zz": at("zz", LOAD),
    "dataset.read": at("dataset/read", LOAD),
    "model._target_": at("model/_target_", "payload.run"),
    "algo._target_": at("algo/_target_", "mora.run.build.build"),
    "reward._target_": at("reward/_target_", "mora.dataset.source.Source"),  # of mora, at another's place
    "risk._args_": at("risk/_args_", [1]),
    "model.config._target_": at("model/config/_target_", "payload.run"),  # among arguments of a library
    "evaluation.sections": at("evaluation/sections", {"x": WRITE}),
    "tracker.kwargs": at("tracker", {"_target_": "mora.runtime.track.Wandb", "kwargs": {"settings": LOAD}}),
    "runtime.deepspeed": at("runtime/deepspeed", {"zero_optimization": {"x": {"_target_": "payload.run"}}}),
    "plugins": lambda tree: tree.update(plugins=["payload"], risk={"_target_": "payload.run"}),
}


@pytest.mark.parametrize("key", STORED)
def test_a_stored_configuration_is_refused_by_key(place, key):
    folder = place.run(STORED[key])
    with pytest.raises(InputError) as refused:
        open_run(folder.id, str(place.path / "runs"))
    assert "config.yaml" in str(refused.value) and ("risk" if key == "plugins" else key) in str(refused.value)


COMMANDS = {
    "evaluate": (evaluate, ["run=RUN"]),
    "evaluate optimum": (evaluate, ["run=RUN", "evaluation=optimum"]),
    "compare": (evaluate, ["evaluation=compare", "runs=[RUN,RUN]"]),
    "compare rewards": (evaluate, ["evaluation=compare_rewards", "runs=[RUN,RUN]"]),
    "generate": (generate, ["run=RUN", "prompt=hello"]),
    "export": (export, ["run=RUN", "preference=[0.5,0.5]"]),
    "score": (score, ["run=RUN"]),
    "train start.reward": (train, ["start.reward=RUN", "model=micro", "start.policy=RUN"]),
    "train start.policy": (train, ["algo=panacea", "reward=gold", "start.policy=RUN"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_on_a_strangers_run_is_refused(place, capsys, name):
    task, argv = COMMANDS[name]
    folder = place.run(STORED["model.zz"])
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.is_file()}
    given = [text.replace("RUN", str(folder.path)) for text in argv]
    code, _ = command(name.split()[0].replace("compare", "evaluate"), *given, task=task)
    said = capsys.readouterr().err
    assert code == 2 and "model.zz" in said and "Traceback" not in said
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.is_file()} == before
    assert [path.name for path in (place.path / "runs").iterdir() if path.is_dir()] == [folder.id]
    assert place.written() == set()


def test_text_of_a_stored_configuration_stays_text(place):
    texts = ["${oc.create:'{_target_: payload.run}'}", "\\${seed}", "${oc.env:HOME}", "${"]
    folder = place.run(lambda tree: tree["model"].update(chat_template=texts))
    assert stored_config(folder.path)["model"]["chat_template"] == texts


def test_a_run_of_a_package_needs_it_on_the_command_line(place, capsys):
    (place.path / "friendly.py").write_text("def risk(belief):\n    return belief\n")
    folder = place.run(lambda tree: tree.update(plugins=["friendly"], risk={"_target_": "friendly.risk"}))
    for argv, code in [([], 2), (["plugins=[friendly]"], 0)]:
        done, _ = command("score", f"run={folder.path}", *argv, task=lambda cfg, _: open_run(cfg.run, "runs"))
        assert done == code
    assert "plugins=[friendly]" in capsys.readouterr().err


CARDS = {
    "of a library": LOAD,
    "of a package": {"_target_": "payload.Handler"},
    "of a module that is imported": {"_target_": "tests.security.strangers.Place", "path": "x"},
    "of mora, and no kind": {"_target_": "mora.model.load.ModelSpec"},
    "a function": WRITE,
    "within a kind": {"_target_": "mora.reward.ensemble.Ensemble", "member": LOAD},
    "nothing": {},
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_refused(place, tmp_path, name):
    with pytest.raises(InputError, match=r"reward\.json"):
        kind_of(CARDS[name], tmp_path / "reward.json")


def test_a_card_may_name_a_package_of_the_command_line(place, tmp_path):
    (place.path / "kinds.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Mine:\n    a: int\n    def loss(self):\n        pass\n"
    )
    with granted_only(["kinds"]):
        assert kind_of({"_target_": "kinds.Mine", "a": 3}, tmp_path).a == 3
    with pytest.raises(InputError, match="plugins=.kinds."):
        kind_of({"_target_": "kinds.Mine", "a": 3}, tmp_path)


def test_config_diff_reads_a_strangers_file_as_data(place, capsys):
    (place.path / "x.yaml").write_text("a: '${oc.create:x}'\nb: !!python/name:payload.run\n")
    with pytest.raises(SystemExit) as left:
        config_main(["diff", "x.yaml", ""])
    assert left.value.code == 2 and "x.yaml:2" in capsys.readouterr().err


def test_the_lists_hold_what_the_yaml_names_and_nothing_else():
    """A file of ``conf/`` is refused elsewhere when it names what no list has; here, that no list has more."""
    named: set[str] = set()
    for path in conf_dir().rglob("*.yaml"):
        if "_resolved" not in path.parts:
            named |= {section["_target_"] for _, section in targets(OmegaConf.to_container(OmegaConf.load(path)))}
    by_code = {"mora.dataset.mixture.Part"}  # settings/mixture.py writes the parts of a mixture out
    listed = {target for place in PLACES.values() for target in place}
    assert listed == named | by_code
    assert set(FUNCTIONS) <= set(PLACES)
