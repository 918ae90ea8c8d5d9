"""Compositions that are made from earlier ones are those that Hydra makes from the files."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hydra import compose as hydra_compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mora.errors import InputError
from mora.settings.tree import explain, opened

OVERRIDES = (
    ["seed=3"],
    ["seed=1", "seed=2"],
    ["seed=3", "algo=sft", "model.rates.full=1.0"],
    ["algo=sft", "++tracker.kwargs.x=1", "reward=qr", "seed=3"],
    ["dataset=garden", "dataset.max_prompt=3", "dataset={max_prompt: 4}"],
    ["dataset={max_prompt: 4}", "dataset.max_prompt=3", "dataset=garden"],
    ["hydra.job.name=x", "seed=3", "hydra/launcher=basic", "hydra.mode=MULTIRUN"],
    ["paths.runs='a b=c'", "model.rates=null", "seed={a: 1}", "objectives.names=[a,b]"],
    ["seed=1,2"],
    ["seed=${hydra.job.name}"],
    ["nothing=3"],
    ["+new.key=3"],
    ["+seed=3"],
    ["~seed"],
    ["~algo", "seed=3"],
    ["algo@x=sft"],
    ["algo/x=1", "seed=3"],
    ["algo=nothing", "seed=3"],
)


def _said(make: Callable[[], DictConfig]) -> str:
    try:
        return OmegaConf.to_yaml(make())
    except InputError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException, ValueError, AttributeError) as error:
        return explain(error)


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_a_composition_is_that_of_hydra(overrides):
    """Hydra's own section and the messages too."""
    with opened("train", searchpath=[]) as tree:
        tree.compose([])
        assert _said(lambda: tree.compose(overrides)) == _said(
            lambda: hydra_compose("train", overrides, return_hydra_config=True)
        )


def test_no_composition_changes_another():
    with opened("train", searchpath=[]) as tree:
        before = OmegaConf.to_yaml(tree.compose(["algo=sft"]))
        assert OmegaConf.to_yaml(tree.compose(["algo=sft", "algo.lr=7.0", "hydra.job.name=x"])) != before
        assert OmegaConf.to_yaml(tree.compose(["algo=sft"])) == before
    with opened("train", searchpath=[]) as tree:
        assert OmegaConf.to_yaml(tree.compose(["algo=sft"])) == before


def test_a_file_that_changes_counts(tree, monkeypatch, tmp_path):
    def value(key: str) -> object:
        with opened("train", tree, []) as one:
            return OmegaConf.select(one.compose(["algo=dpo", "seed=5"]), key)

    assert value("algo.beta") == 0.1
    file = tree / "algo" / "dpo.yaml"
    file.write_text(file.read_text().replace("beta: 0.1", "beta: 0.2"))
    os.utime(file, ns=(1, 1))
    assert value("algo.beta") == 0.2
    (tree / "algo" / "new.yaml").write_text("beta: 0.3\n")
    with opened("train", tree, []) as one:
        assert "new" in one.choices("algo")
    assert value("hydra.runtime.cwd") == os.getcwd() != str(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert value("hydra.runtime.cwd") == str(tmp_path)
