"""The strict check: what is refused, what is suggested, and that all of it is said at once."""

from __future__ import annotations

import pytest

from mora.errors import InputError
from mora.settings.check import check
from mora.settings.compose import compose
from mora.settings.overrides import prepare
from mora.settings.permitted import granted_only
from mora.settings.tree import opened


def problems(tree, *overrides, command="train", multirun=False):
    with opened(command, tree) as found:
        return list(check(found, prepare(overrides, multirun), multirun=multirun).problems)


def test_valid_overrides_pass(tree):
    assert problems(tree, "algo=dpo", "algo.beta=0.3", "seed=4", "++algo.lr=1e-5", "algo.lr=1") == []


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("algo.cliip=0.1", "algo.clip"),  # a misspelled last part
        ("alog.clip=0.1", "algo.clip"),  # a misspelled section
        ("lr=0.1", "algo.lr"),  # a leaf without its section
        ("+algo.cliip=0.1", "algo.clip"),  # Hydra alone would accept these two silently
        ("++algo.cliip=0.1", "algo.clip"),
        ("~algo.cliip", "algo.clip"),
        ("experimen=quick", "experiment"),  # a group
        ("algo.advantage.lamb=0.9", "algo.advantage.lam"),
        ("algo={cliip: 0.1}", "algo.clip"),  # a mapping is checked key by key
    ],
)
def test_unknown_key_names_the_nearest(tree, override, nearest):
    (problem,) = problems(tree, override)
    assert problem.endswith(f"unknown key; the nearest is {nearest}")


def test_unknown_key_far_from_everything_suggests_nothing(tree):
    assert problems(tree, "zzzzzzzz=1") == ["zzzzzzzz: unknown key"]


def test_key_of_another_choice_says_which_choice(tree):
    (problem,) = problems(tree, "algo.beta=0.1")
    assert "algo.beta: unknown key" in problem and problem.endswith("known with algo=dpo")


def test_unknown_choice_names_the_nearest_and_all(tree):
    (problem,) = problems(tree, "algo=pannacea")
    assert problem == "algo=pannacea: no such choice; the nearest is algo=panacea (there are dpo, panacea, ppo)"


def test_everything_wrong_is_listed_at_once(tree):
    with pytest.raises(InputError) as refused:
        compose("train", ["algo=pppo", "sede=3", "+foo.bar=1", "algo.clip=high", "word"], tree)
    lines = str(refused.value).splitlines()
    assert lines[0] == "5 problems with the settings of train:"
    assert [line.split(".")[0].strip() for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    for part in ("algo=pppo", "sede", "foo.bar", "algo.clip=high", "word"):
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("override", "takes"),
    [
        ("algo.clip=high", "a number"),
        ("algo.clip=true", "a number"),
        ("algo.clip=null", "a number"),
        ("algo.steps=2.5", "an integer"),
        ("algo.steps=1e3", "an integer"),
        ("algo.whiten=1", "true or false"),
        ("algo.schedule=3", "text"),
        ("algo.betas=0.9", "a list (each item: a number)"),
        ("algo.betas=[a,b]", "a list (each item: a number)"),
    ],
)
def test_value_of_another_type_is_refused(tree, override, takes):
    (problem,) = problems(tree, override)
    assert f" takes {takes}, not " in problem and problem.startswith(override.split("=")[0])


@pytest.mark.parametrize(
    "override", ["algo.clip=1", "algo.limit=high", "algo.limit=2", "algo.betas=[0,1]", "algo.clip=${seed}"]
)
def test_value_of_a_fitting_type_is_accepted(tree, override):
    assert problems(tree, override) == []


def test_annotation_of_the_target_beats_the_value_in_the_yaml(tree):
    """``TchebycheffExpected.ideal`` is ``float | list[float]``: a list is fine although the YAML has a number."""
    assert problems(tree, "scalarize=expected", "scalarize.ideal=[1.0,2]") == []
    (problem,) = problems(tree, "scalarize=expected", "scalarize.ideal=[a]")
    assert "scalarize.ideal takes a number or a list (each item: a number)" in problem


def test_sections_are_not_replaced_by_values(tree):
    (problem,) = problems(tree, "start=policy")
    assert problem == "start: this is a section with the keys policy, sft; set one of them"


def test_every_cell_of_a_sweep_is_checked(tree):
    (problem,) = problems(tree, "algo=ppo,dpo", "algo.clip=0.1,0.2", multirun=True)
    assert "algo.clip: unknown key" in problem and problem.endswith("(in the cells with algo=dpo)")
    assert problems(tree, "algo=ppo,panacea", "algo.clip=0.1,0.2", multirun=True) == []
    assert len(problems(tree, "algo.clip=0.1,high,low", multirun=True)) == 2


def test_sweep_without_multirun_is_refused(tree):
    (problem,) = problems(tree, "seed=1,2")
    assert "add -m" in problem and "seed=[1,2]" in problem


def test_sweeper_parameters_in_yaml_are_checked(tree):
    assert problems(tree, "sweep=seeds") == []
    found = problems(tree, "sweep=wrong")
    assert any("hydra.sweeper.params" in text and "algo=dop" in text for text in found)
    assert any(text.startswith("sede: unknown key; the nearest is seed") for text in found)


def test_a_sweeper_parameter_that_the_command_line_replaces_is_not_checked(tree):
    assert problems(tree, "sweep=seeds", "seed=5") == []
    found = problems(tree, "sweep=wrong", "algo=ppo")
    assert [text.split(":")[0] for text in found] == ["sede"]


def test_an_experiment_may_change_keys_but_not_bring_new_ones(tree):
    assert problems(tree, "experiment=quick", "algo.beta=0.2") == []
    value, key = sorted(problems(tree, "experiment=wrong"))
    assert value == "experiment=wrong: algo.clip=high: algo.clip takes a number, not text"
    assert key.startswith("experiment=wrong: sede: unknown key; the nearest is seed. ")


def test_an_experiment_of_another_algorithm_says_which_file_sets_the_key():
    (problem,) = problems(None, "experiment=oracle", "algo=rloo")
    assert problem.startswith("experiment=oracle: algo.advantage.lam: unknown key")
    assert "experiment/oracle.yaml sets it, and algo=rloo has no such key" in problem
    assert "another experiment (" in problem and "oracle_rloo" in problem


def test_open_sections_take_new_keys_where_they_exist(tree):
    assert problems(tree, "model.kwargs.trust=true", "+model.kwargs.x=1") == []
    assert compose("train", ["model.kwargs.trust=true"], tree).model.kwargs == {"trust": True}
    (problem,) = problems(tree, "tracker.kwargs.x=1")  # this tree has no tracker
    assert problem.startswith("tracker.kwargs.x: unknown key")


def test_removing_and_adding_what_is_there(tree):
    assert problems(tree, "~seed") == ["~seed: a key cannot be removed; set it to another value"]
    assert problems(tree, "+seed=1") == ["+seed: seed is there already; write seed= without the sign"]
    assert "without the sign" in problems(tree, "+experiment=quick")[0]
    assert "cannot be removed" in problems(tree, "~algo")[0]


def test_groups_of_other_commands_are_unknown(tree):
    (problem,) = problems(tree, "run=x", "algo=ppo", command="generate")
    assert problem.startswith("algo: unknown key")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("os.system", "outside mora"),
        ("builtins.eval", "outside mora"),
        ("mora.functional.scalarize.torch", "defines no torch"),  # imported there, not defined there
        ("mora.functional.scalarize.Tensor", "is imported by"),
        ("mora.functional.scalarize._gaps", "is private"),
        ("mora.functional.scalarise.Linear", "the nearest is mora.functional.scalarize"),
        ("mora.functional.scalarize.Liner", "the nearest is Linear"),
        ("moraitis.x.Y", "outside mora"),
    ],
)
def test_targets_are_public_objects_defined_in_mora(tree, target, reason):
    found = problems(tree, f"scalarize._target_={target}")
    assert any(text.startswith("scalarize._target_: ") and reason in text for text in found)


def test_targets_of_packages_that_the_user_named_are_accepted(tree):
    with granted_only(["json", "nowhere_to_be"]):
        _named_packages(tree)
    (problem,) = problems(tree, "plugins=[json]")
    assert "plugins: json is not named on the command line" in problem


def _named_packages(tree):
    assert problems(tree, "scalarize._target_=json.JSONDecoder", "plugins=[json]") == []
    (problem,) = problems(tree, "scalarize._target_=nowhere_to_be.X", "plugins=[nowhere_to_be]")
    assert "not installed" in problem


def test_keys_that_the_target_does_not_take_are_refused(tree):
    (tree / "scalarize" / "odd.yaml").write_text("_target_: mora.functional.scalarize.Linear\nalpha: 0.1\n")
    assert problems(tree, "scalarize=odd") == ["scalarize.alpha: mora.functional.scalarize.Linear takes no alpha"]


def test_required_keys_come_with_an_example(tree):
    (problem,) = problems(tree, command="generate")
    assert problem.startswith("run is needed") and "python -m mora.generate run=runs/NAME" in problem
    (problem,) = problems(tree, "dataset=jsonl")
    assert "dataset=jsonl dataset.path=pairs.jsonl" in problem
    assert problems(tree, "dataset=jsonl", "dataset.path=x.jsonl") == []


def test_unknown_command(tree):
    with pytest.raises(InputError, match="no such command; there are generate, train"):
        compose("trian", [], tree)
