from __future__ import annotations

from functools import lru_cache
from typing import Any

import mora
from mora.settings.identity import plain
from mora.settings.methods import differing, labels, same_but_for_seed


@lru_cache
def config(*overrides: str) -> dict[str, Any]:
    composed: dict[str, Any] = plain(mora.compose(*overrides))
    return composed


def test_seeds_and_where_things_are_kept_make_no_other_method():
    same = same_but_for_seed(config())
    for other in (
        "seed=7",
        "paths.runs=elsewhere",
        "evaluation.samples=3",
        "tracker=tensorboard",
        "runtime.save_every=7",
    ):
        assert same_but_for_seed(config(other)) == same
    for other in ("adapter.lr=1", "preference=batch", "reward=gold", "runtime.precision=bf16", "model=micro"):
        assert same_but_for_seed(config(other)) != same


def test_what_sets_methods_apart_is_named_by_key():
    found = differing(
        [config("adapter.lr=0.1"), config("adapter.lr=0.2", "preference=batch"), config("adapter.lr=0.1")]
    )
    assert found == [
        {"adapter.lr": 0.1, "preference.unit": "row"},
        {"adapter.lr": 0.2, "preference.unit": "batch"},
        {"adapter.lr": 0.1, "preference.unit": "row"},
    ]
    assert differing([config(), config()]) == [{}, {}]


def test_a_section_of_another_class_stands_for_its_keys():
    panacea, sft = differing([config(), config("algo=sft")])
    assert (panacea, sft) == ({"algo": "panacea"}, {"algo": "sft"})
    linear, other = differing([config(), config("scalarize=tchebycheff")])
    assert (linear, other) == ({"scalarize": "Linear"}, {"scalarize": "Tchebycheff"})


def test_the_keys_of_a_section_are_compared_within_its_class():
    found = differing([config("reward.atoms=33"), config(), config("reward=scalar")])
    assert found == [
        {"reward": "quantile", "reward.atoms": 33},
        {"reward": "quantile", "reward.atoms": 9},
        {"reward": "scalar"},
    ]


def test_which_start_is_named_makes_no_other_method():
    named = [same_but_for_seed(config(f"start.reward={name}")) for name in ("runs/one", "runs/other")]
    assert named[0] == named[1] != same_but_for_seed(config())


def test_labels_say_what_sets_a_run_apart_from_its_like():
    names = labels([config(), config("preference=batch"), config("algo=sft")])
    assert names == ["panacea unit=row", "panacea unit=batch", "sft"]
    assert labels([config()]) == ["panacea"]


def test_labels_that_would_read_alike_are_numbered():
    many = "adapter.lr=0.3", "algo.kl_coef=0.125", "algo.value_coef=0.75", "algo.steps=77", "algo.epochs=3"
    assert labels([config(), config(*many)]) == ["panacea #1", "panacea #2"]
