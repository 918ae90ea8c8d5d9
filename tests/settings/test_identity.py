"""Identity: equal meaning gives an equal hash, and nothing else does."""

from __future__ import annotations

import re

import pytest
from omegaconf import OmegaConf

from mora.errors import InputError
from mora.settings.compose import compose, diff_from_defaults
from mora.settings.identity import canonical_json, difference, identity_hash, section, slug, to_yaml


def test_canonical_json_is_sorted_tight_and_exact():
    assert canonical_json({"b": 0.1, "a": [1, None, True, "ü"]}) == '{"a":[1,null,true,"\\u00fc"],"b":0.1}'
    assert canonical_json({"x": 1e-7}) == '{"x":1e-07}'


def test_hash_ignores_order_and_the_spelling_of_whole_numbers():
    assert identity_hash({"a": 1, "b": {"c": 2}}) == identity_hash({"b": {"c": 2.0}, "a": 1})
    assert identity_hash(OmegaConf.create({"a": 1, "b": "${a}"})) == identity_hash({"a": 1, "b": 1})


@pytest.mark.parametrize(
    "other", [{"a": 2}, {"a": "1"}, {"a": True}, {"a": [1]}, {"a": 1, "b": None}, {"a": 1 + 2**-52}]
)
def test_hash_tells_values_apart(other):
    assert identity_hash(other) != identity_hash({"a": 1})


def test_hash_is_pinned():
    """The folder names of runs depend on it: sha256 of '{"a":1}' begins with 015abd7f5c."""
    assert identity_hash({"a": 1}) == "015abd7f5c"


def test_hash_refuses_what_has_no_canonical_form():
    with pytest.raises(TypeError):
        identity_hash({"a": object()})


def test_slug_is_one_safe_path_component():
    made = slug("preference=[0.2,0.8],risk=cvar " * 20)
    assert re.fullmatch(r"[A-Za-z0-9.-]+", made) and len(made) <= 80
    assert slug("a=1") != slug("a=[1]") and slug("").startswith("default-")


def test_section_picks_plain_values():
    cfg = OmegaConf.create({"a": {"b": "${c}"}, "c": 3, "d": 4})
    assert section(cfg, ["a", "d", "a.b"]) == {"a": {"b": 3}, "d": 4, "a.b": 3}
    with pytest.raises(InputError, match="a.x"):
        section(cfg, ["a.x"])


def test_difference_lists_leaves():
    found = difference({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1.0, "c": 3}, "e": {}})
    assert found == {"a.c": {"left": 2, "right": 3}, "d": {"left": [1]}, "e": {"right": {}}}


def test_diff_from_defaults(tree):
    cfg = compose("train", ["seed=3", "algo.clip=0.2", "model.kwargs.x=1"], tree)
    assert diff_from_defaults(cfg, "train", tree) == {
        "seed": {"default": 0, "value": 3},
        "model.kwargs": {"default": {}},
        "model.kwargs.x": {"value": 1},
    }


def test_yaml_round_trip_and_frozen(tree):
    cfg = compose("train", ["algo=dpo"], tree)
    assert OmegaConf.to_container(OmegaConf.create(to_yaml(cfg))) == OmegaConf.to_container(cfg)
    with pytest.raises(Exception, match="read-only|readonly"):
        cfg.seed = 3
