"""What a folder of --config-dir and a command line may say: nothing in a file runs, a bad file has one message."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tests.security.strangers import Place, command

import mora
from mora.errors import InputError
from mora.run.build import build
from mora.run.plan import plan
from mora.runtime.track import Wandb
from mora.settings import reading
from mora.settings.compose import choices, compose
from mora.settings.launch import Job
from mora.settings.permitted import granted
from mora.settings.reading import read_mapping
from mora.settings.stored import stored_config


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "quite-a-secret-value")
    made = Place(tmp_path)
    yield made
    assert not made.harmed()
    assert made.written() == set() and not (tmp_path / "runs").exists()


def refused(capsys, name: str, *argv: str) -> str:
    """The one message of a command line that is refused before its task."""
    code, seen = command(name, *argv)
    said = capsys.readouterr().err
    assert code == 2 and seen == [], said
    assert "error: " in said and "Traceback" not in said and "quite-a-secret-value" not in said
    return said


RUN = "{_target_: payload.run}"
WANDB = "tracker=wandb"
SLURM = ("-m", "seed=1,2", "hydra/launcher=submitit_slurm")
ON_THE_COMMAND_LINE = {  # what is refused, and what the message must name
    "a section that a resolver makes": ("oc.create", WANDB, "tracker.kwargs.x='${oc.create:\"" + RUN + "\"}'"),
    "one that it reads": ("oc.decode", WANDB, "tracker.kwargs.x='${oc.decode:\"" + RUN + "\"}'"),
    "within another": ("oc.decode", WANDB, "tracker.kwargs.x='${now:${oc.decode:x}}'"),
    "in place of a section": ("oc.decode", "algo='${oc.decode:\"" + RUN + "\"}'"),
    "in a list of it": ("oc.select", WANDB, "tracker.tags=[a,'${oc.select:model}']"),
    "in a key": ("oc.decode", WANDB, "tracker.kwargs={'${oc.decode:x}': 1}"),
    "in a sweep": ("oc.decode", "-m", "seed=1,'${oc.decode:x}'"),
    "Hydra's own settings": ("the resolver hydra", WANDB, "tracker.project=${hydra:runtime.output_dir}"),
    "keys of a section": ("oc.dict.keys", WANDB, "tracker.tags=${oc.dict.keys:model}"),
    "a resolver that is computed": ("${tracker.entity}", WANDB, "tracker.project='${${tracker.entity}:x}'"),
    "a variable": ("HF_TOKEN", WANDB, "tracker.project=${oc.env:HF_TOKEN}"),
    "a variable that is computed": ("${tracker.entity}", WANDB, "tracker.project='${oc.env:${tracker.entity}}'"),
    "a variable with a default": ("HF_TOKEN", WANDB, "tracker.project='${oc.env:HF_TOKEN,none}'"),
    "in a path": ("HF_TOKEN", "dataset=jsonl", "dataset.path=${oc.env:HF_TOKEN}", "objectives.names=[a]"),
    "a section of its own": ("risk._target_", "risk={_target_: payload.run}"),
    "among a library's arguments": ("kwargs.x._target_", WANDB, "+tracker.kwargs.x={_target_: mora.files.write_text}"),
    "callbacks": ("hydra.callbacks", "+hydra.callbacks.x._target_=payload.Handler"),
    "all of hydra": ("hydra:", "hydra={callbacks: {x: {_target_: payload.Handler}}}"),
    "logging": ("hydra.job_logging", "hydra.job_logging={version: 1, handlers: {x: {class: payload.Handler}}}"),
    "logging of hydra": ("hydra.hydra_logging", "+hydra.hydra_logging.handlers.x.class=payload.Handler"),
    "a choice of logging": ("hydra/job_logging", "hydra/job_logging=default"),
    "a choice of callbacks": ("hydra/callbacks", "+hydra/callbacks=x"),
    "a launcher": ("hydra.launcher._target_", "hydra.launcher._target_=payload.Handler"),
    "a launcher's part": ("hydra.launcher.x", "-m", "seed=1,2", "+hydra.launcher.x={_target_: payload.run}"),
    "another launcher": ("hydra/launcher", "hydra/launcher=evil"),
    "a sweeper": ("hydra.sweeper", "-m", "seed=1,2", "hydra.sweeper={_target_: payload.Handler}"),
    "a package in the search path": ("hydra.searchpath", "hydra.searchpath=[pkg://payload]"),
    "a folder in the search path": ("hydra.searchpath", "hydra.searchpath=[file://mine]"),
    "a group below hydra": ("hydra.callbacks", "algo@hydra.callbacks.x=sft"),
    "a name of an address": ("pkg://payload", "--config-dir", "pkg://payload"),
    "a line in the name of a partition": (
        "hydra.launcher.partition",
        *SLURM,
        "hydra.launcher.partition='gpu\ntouch x'",
    ),
    "a line in a path": ("paths.runs", "paths.runs=runs\ntouch x"),
    "an escape in a path": ("dataset.path", "dataset=jsonl", "dataset.path=a\x1b[2J", "objectives.names=[a]"),
    "modules for DeepSpeed": (
        "runtime.deepspeed.torch_autocast",
        "runtime.deepspeed.torch_autocast.lower_precision_safe_modules=[payload.Handler]",
    ),
    "completion": ("--shell-completion", "--shell-completion", "query=bash"),
}


@pytest.mark.parametrize("name", ON_THE_COMMAND_LINE)
def test_a_command_line_is_refused(place, capsys, name):
    named, *argv = ON_THE_COMMAND_LINE[name]
    assert named in refused(capsys, "train", *argv)


def test_an_earlier_stage_names_no_package(place):
    own = ["start.sft=['plugins=[payload]','algo._target_=payload.run']"]
    with pytest.raises(InputError, match=r"start\.sft: plugins is no setting of the algo"):
        plan(mora.compose(*own), own)


GLOBAL = "# @package _global_\n"
SWEEP = "mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}"
OVERRIDES = (
    "overrides: {hydra: ['++hydra.job_logging={version: 1, handlers: {x: {class: payload.Handler}}}', "
    "'++hydra.job.env_set.LD_PRELOAD=payload.so']}"
)


def _launcher(setting: str) -> str:
    return f"{GLOBAL}defaults: [{{override /hydra/launcher: submitit_slurm}}]\nhydra: {{launcher: {{{setting}}}}}\n"


IN_A_FILE = {
    "a section of the stranger's": ("algo/x.yaml", "_target_: payload.run\n", "algo=x"),
    "a public function": ("algo/x.yaml", "_target_: mora.files.write_text\npath: written.txt\ntext: x\n", "algo=x"),
    "a resolver": ("model/x.yaml", "defaults: [tiny]\nconfig: \"${oc.create:'" + RUN + "'}\"\n", "model=x"),
    "a resolver in its defaults": ("model/x.yaml", "defaults: ['${oc.env:HF_TOKEN}']\n", "model=x"),
    "a resolver in a key": ("model/x.yaml", "defaults: [tiny]\n'${oc.decode:x}': 1\n", "model=x"),
    "a variable": ("tracker/x.yaml", "defaults: [wandb]\nproject: ${oc.env:HF_TOKEN}\n", "tracker=x"),
    "its own packages": ("algo/x.yaml", GLOBAL + f"plugins: [payload]\nalgo: {RUN}\n", "algo=x"),
    "packages of an experiment": ("experiment/x.yaml", GLOBAL + "plugins: [payload]\n", "experiment=x"),
    "packages of a sweep": (
        "sweep/x.yaml",
        GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {plugins: '[payload]'}}}\n",
        "sweep=x",
    ),
    "callbacks": (
        "experiment/x.yaml",
        GLOBAL + "hydra: {callbacks: {x: {_target_: payload.Handler}}}\n",
        "experiment=x",
    ),
    "callbacks in a swept choice": (
        "experiment/x.yaml",
        GLOBAL + "hydra: {callbacks: {x: {_target_: payload.Handler}}}\n",
        "-m",
        "experiment=quick,x",
    ),
    "logging": (
        "experiment/x.yaml",
        GLOBAL + "hydra: {job_logging: {version: 1, handlers: {x: {class: payload.Handler}}}}\n",
        "experiment=x",
    ),
    "a factory": ("sweep/x.yaml", GLOBAL + "hydra: {hydra_logging: {handlers: {x: {'()': payload.run}}}}\n", "sweep=x"),
    "a stream": ("sweep/x.yaml", GLOBAL + "hydra: {job_logging: {x: 'ext://payload.run'}}\n", "sweep=x"),
    "a launcher": ("sweep/x.yaml", GLOBAL + "hydra: {launcher: {_target_: payload.Handler}}\n", "sweep=x"),
    "a launcher's shell": (
        "sweep/x.yaml",
        GLOBAL + "defaults: [{override /hydra/launcher: submitit_slurm}]\nhydra: {launcher: {setup: [touch canary]}}\n",
        "sweep=x",
    ),
    "a launcher under a known name": (
        "hydra/launcher/submitit_slurm.yaml",
        "_target_: payload.Handler\n",
        "-m",
        "seed=1,2",
        "hydra/launcher=submitit_slurm",
    ),
    "variables of jobs": ("sweep/x.yaml", GLOBAL + "hydra: {job: {env_set: {PYTHONSTARTUP: x.py}}}\n", "sweep=x"),
    "a search path": ("experiment/x.yaml", GLOBAL + "hydra: {searchpath: ['pkg://payload']}\n", "experiment=x"),
    "logging by parameters of a sweep": (
        "sweep/x.yaml",
        GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {+hydra.job_logging.handlers.x.class: payload.Handler}}}\n",
        "sweep=x",
    ),
    "a choice by parameters of a sweep": (
        "sweep/x.yaml",
        GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {hydra/job_logging: default}}}\n",
        "sweep=x",
    ),
    "callbacks under a name": (
        "experiment/x.yaml",
        GLOBAL + "defaults: [{override /hydra/callbacks: evil}]\n",
        "experiment=x",
    ),
    "a place in the head of a file": (
        "tracker/x.yaml",
        "# @package hydra.callbacks.x\n_target_: payload.Handler\n",
        "tracker=x",
    ),
    "a group below hydra": ("algo/x.yaml", "defaults: [{'/algo@hydra.callbacks.x': sft}, sft]\n", "algo=x"),
    "overrides of hydra in a sweep": (
        "sweep/x.yaml",
        f"{GLOBAL}hydra: {{{SWEEP}, {OVERRIDES}}}\n",
        "sweep=x",
    ),
    "overrides of hydra": (
        "experiment/x.yaml",
        f"{GLOBAL}hydra: {{{OVERRIDES}}}\n",
        "-m",
        "seed=1,2",
        "experiment=x",
    ),
    "overrides of hydra by the head of a file": (
        "tracker/x.yaml",
        f"# @package hydra\n{OVERRIDES}\n",
        "tracker=x",
    ),
    "overrides of hydra by a place among defaults": (
        "algo/x.yaml",
        "defaults: [{'/experiment@_global_.hydra.overrides': evil}, sft]\n",
        "algo=x",
    ),
    "overrides by reference": (
        "experiment/x.yaml",
        GLOBAL + "hydra: {overrides: {hydra: '${objectives.names}'}}\n",
        "experiment=x",
    ),
    "overrides of the task": ("experiment/x.yaml", GLOBAL + "hydra: {overrides: {task: [seed=3]}}\n", "experiment=x"),
    "a line in the name of a partition": ("sweep/x.yaml", _launcher('partition: "gpu\\ntouch canary"'), "sweep=x"),
    "a line in a list of resources": ("sweep/x.yaml", _launcher('gres: "gpu:1\\ntouch canary"'), "sweep=x"),
    "quotes in an account": ("sweep/x.yaml", _launcher('account: "a\'; touch canary"'), "sweep=x"),
    "a line by reference": (
        "sweep/x.yaml",
        _launcher("name: '${tracker.project}'") + 'tracker: {project: "p\\ntouch canary"}\n',
        "tracker=wandb",
        "sweep=x",
    ),
    "a line in a path": ("experiment/x.yaml", GLOBAL + 'paths: {runs: "runs\\ntouch canary"}\n', "experiment=x"),
    "modules for DeepSpeed": (
        "experiment/x.yaml",
        GLOBAL + "runtime: {deepspeed: {torch_autocast: {lower_precision_safe_modules: [payload.Handler]}}}\n",
        "experiment=x",
    ),
    "a file that DeepSpeed writes": (
        "experiment/x.yaml",
        GLOBAL + "runtime: {deepspeed: {flops_profiler: {enabled: true, output_file: written.txt}}}\n",
        "experiment=x",
    ),
    "a folder of DeepSpeed": (
        "experiment/x.yaml",
        GLOBAL + "runtime: {deepspeed: {zero_optimization: {offload_optimizer: {nvme_path: .}}}}\n",
        "experiment=x",
    ),
    "a way out of the folder": ("tracker/x.yaml", "defaults: [wandb, /../mine/experiment/evil@kwargs]\n", "tracker=x"),
    "a folder of events": ("tracker/x.yaml", "defaults: [tensorboard]\nfolder: ../../mine\n", "tracker=x"),
    "a way out of the root": ("tracker/x.yaml", "defaults: [wandb, '//etc/hosts@kwargs']\n", "tracker=x"),
    "the folder of a run": (
        "experiment/x.yaml",
        GLOBAL + "hydra: {runtime: {output_dir: elsewhere}}\n",
        "experiment=x",
    ),
}


SAID = ("control character", "tracker.folder", "runtime.deepspeed", "is not in the folder")


@pytest.mark.parametrize("name", IN_A_FILE)
def test_a_file_is_refused(place, capsys, name):
    file, text, *argv = IN_A_FILE[name]
    place.yaml("hydra/callbacks/evil.yaml", "x: {_target_: payload.Handler}\n")
    place.yaml("experiment/evil.yaml", "hydra: ['++hydra.job.env_set.LD_PRELOAD=payload.so']\n")
    place.yaml(file, text)
    said = refused(capsys, "train", "--config-dir", "mine", *argv)
    assert any(word in said for word in ("hydra", "payload", "mora.files.write_text", "oc.", "HF_TOKEN", *SAID))


def test_a_top_file_of_the_own_folder_is_not_read(place):
    place.yaml("train.yaml", "plugins: [payload]\nhydra: {searchpath: ['pkg://payload']}\n")
    assert command("train", "--config-dir", "mine", "algo=sft")[0] == 0


@pytest.mark.parametrize("flag", ["--help", "--hydra-help", "--info", "--cfg=job", "--cfg=hydra"])
def test_a_look_at_the_settings_is_no_way_in(place, capsys, flag):
    place.yaml(
        "experiment/x.yaml", GLOBAL + "hydra: {hydra_logging: {version: 1, handlers: {x: {class: payload.Handler}}}}\n"
    )
    refused(capsys, "train", "--config-dir", "mine", "experiment=x", flag)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BROKEN = {
    "malformed": ("a: 1\nb: [1, 2\nc: 3\n", ":3"),
    "empty": ("", ":1"),
    "only a comment": ("# nothing\n", ":1"),
    "a list": ("- 1\n- 2\n", ":1"),
    "a text": ("just words\n", ":1"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", ":3"),
    "two documents": ("a: 1\n---\nb: 2\n", ":2"),
    "an object": ("a: 1\nb: !!python/object/apply:payload.run []\n", ":2"),
    "aliases of aliases": (LAUGHS, ":6"),
    "an alias of itself": ("a: &a [1, *a]\n", ":1"),
    "deep": ("a: " + "[" * 5000 + "]" * 5000 + "\n", ":1"),
    "deep mappings": ("".join(" " * n + "a:\n" for n in range(200)), ":33"),
    "large": ("a: 1\n# " + "x" * reading.MOST_BYTES + "\n", ""),
    "no text at all": (b"a: 1\nb: \xff\xfe\n", ":2"),
    "a tab": ("a:\n\tb: 1\n", ":2"),
    "an interpolation left open": ("a: 1\nb: '${a'\n", "b"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_of_the_own_folder_has_one_message(place, capsys, name):
    text, where = BROKEN[name]
    (place.own / "algo").mkdir()
    (place.own / "algo" / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    said = refused(capsys, "train", "--config-dir", "mine", "algo=x")
    assert f"x.yaml{where}" in said or where == "b" and "x.yaml: b" in said


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "an interpolation left open"])
def test_a_broken_file_of_a_run_has_one_message(tmp_path: Path, name: str):
    text, where = BROKEN[name]
    (tmp_path / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as found:
        stored_config(tmp_path)
    assert f"{tmp_path / 'config.yaml'}{where}" in str(found.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", "seven", "seed='seven' is no whole number"),
        ("seed", True, "seed=True is no whole number"),
        *[(f"{key}._target_", None, rf"{key}\._target_ is missing") for key in ("model", "dataset", "evaluation")],
        ("reward._target_", None, "reward names no object"),
        ("risk", None, "risk names no object"),
    ],
)
def test_a_run_whose_settings_name_no_object_has_one_message(tmp_path: Path, key: str, value: object, said: str):
    config = OmegaConf.to_container(mora.compose("reward=gold"), resolve=True)
    OmegaConf.save(OmegaConf.create(config), tmp_path / "config.yaml")
    stored_config(tmp_path)
    *above, last = key.split(".")
    section = config[above[0]] if above else config
    section.pop(last)
    section |= {} if value is None else {last: value}
    OmegaConf.save(OmegaConf.create(config), tmp_path / "config.yaml")
    with pytest.raises(InputError, match=f"config.yaml: {said}"):
        stored_config(tmp_path)


def test_values_that_refer_to_each_other_have_one_message(place, capsys):
    place.yaml("tracker/x.yaml", "defaults: [wandb]\nproject: ${.entity}\nentity: ${.project}\n")
    assert "project" in refused(capsys, "train", "--config-dir", "mine", "tracker=x")
    assert "choice" in refused(capsys, "train", "--config-dir", "mine", "tracker=missing")


def test_files_that_choose_each_other_have_one_message(place, capsys):
    place.yaml("tracker/x.yaml", "defaults: [y]\n")
    place.yaml("tracker/y.yaml", "defaults: [x]\n")
    refused(capsys, "train", "--config-dir", "mine", "tracker=x")


def test_yaml_means_what_hydra_reads(tmp_path):
    (tmp_path / "x.yaml").write_text("a: 1e-3\nb: 2020-01-01\nc: 1.0e-05\nd: .5\ne: on\nf: 0x10\ng: ~\nh: -1e3\n")
    assert read_mapping(tmp_path / "x.yaml") == {
        "a": 0.001, "b": "2020-01-01", "c": 1e-5, "d": 0.5, "e": True, "f": 16, "g": None, "h": -1000.0
    }  # fmt: skip


def test_what_a_file_may_do(place):
    place.yaml("algo/x.yaml", "defaults: [sft, _self_]\nlr: 3.0e-4\n")
    place.yaml("tracker/x.yaml", "defaults: [wandb, _self_]\nproject: p-${oc.env:HOME}-${seed}\n")
    code, (cfg,) = command("train", "--config-dir", "mine", "algo=x", "tracker=x")
    assert code == 0 and cfg.algo.lr == 3e-4 and cfg.tracker.project.endswith("-0")


def test_packages_of_the_command_line_reach_the_task_and_end_with_it(place):
    (place.path / "mine" / "friendly_package.py").write_text("")
    seen = []
    code, _ = command("train", "plugins=[json]", "risk={_target_: json.loads}", task=lambda *_: seen.append(granted()))
    assert code == 0 and seen == [("json",)] and "json" not in granted()
    job = Job(task=lambda *_: None, traced=False, plugins=("json",))
    assert job.plugins == ("json",)  # what a process that a launcher starts has


@pytest.mark.parametrize("setting", ["timeout_min=5", "partition=gpu", "mem_gb=4"])
def test_a_file_may_ask_for_resources(place, setting, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")  # SLURM is where the user is
    key, value = setting.split("=")
    text = f"defaults: [{{override /hydra/launcher: submitit_local}}]\nhydra: {{launcher: {{{key}: {value}}}}}\n"
    place.yaml("experiment/x.yaml", GLOBAL + (text if key != "partition" else text.replace("_local", "_slurm")))
    assert command("train", "--config-dir", "mine", "experiment=x")[0] == 0


SENT_ELSEWHERE = ["base_url", "x_extra_http_headers", "x_proxies", "https_proxy", "insecure_disable_ssl", "save_code"]


@pytest.mark.parametrize("name", [*SENT_ELSEWHERE, "code_dir", "x_executable", "_target", "api_key"])
def test_a_file_sends_no_key_elsewhere(place, name):
    place.yaml("tracker/x.yaml", f"defaults: [wandb]\nkwargs: {{group: g, settings: {{quiet: true, {name}: x}}}}\n")
    _, (cfg,) = command("train", "--config-dir", "mine", "tracker=x")
    with pytest.raises(InputError, match=f"tracker.kwargs.settings.{name}: .*WANDB_"):
        build(cfg.tracker)


@pytest.mark.parametrize("kwargs", [{"save_code": True}, {"settings": "settings.json"}, {"dir": "x"}])
def test_other_arguments_of_the_tracker_are_refused(kwargs):
    with pytest.raises(InputError, match=f"tracker.kwargs.{next(iter(kwargs))}"):
        Wandb(project="p", entity=None, mode="offline", tags=[], kwargs=kwargs)


def test_usual_arguments_of_libraries_are_handed_on(place):
    place.yaml("tracker/x.yaml", "defaults: [wandb]\nkwargs: {group: g, notes: n, settings: {quiet: true}}\n")
    overlap = "runtime.deepspeed={zero_optimization: {overlap_comm: true}}"
    code, (cfg,) = command("train", "--config-dir", "mine", "tracker=x", overlap)
    assert code == 0 and build(cfg.tracker).kwargs == {"group": "g", "notes": "n", "settings": {"quiet": True}}
    assert cfg.runtime.deepspeed.zero_optimization.overlap_comm is True


@pytest.mark.parametrize("function", [compose, choices])
def test_a_composition_in_python_is_held_to_the_same(function):
    with pytest.raises(InputError, match="hydra.callbacks"):
        function("train", ["+hydra.callbacks.x._target_=payload.Handler"])
