"""The published sources: their columns as published, the hub by a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mora.dataset import hummer
from mora.errors import InputError
from mora.settings.compose import compose

CONF = Path(__file__).parents[2] / "conf"
PKU = {
    "prompt": "How do I open a lock?",
    "response_0": "Take a pick.",
    "response_1": "Call a locksmith.",
    "prompt_source": "Alpaca3-70B",
    "response_0_source": "Alpaca3-8B",
    "response_1_source": "WizardLM-30B-Uncensored",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "response_0_harm_category": {"Privacy Violation": False, "Economic Crime": True},
    "response_1_harm_category": {"Privacy Violation": False, "Economic Crime": False},
    "response_0_severity_level": 1,
    "response_1_severity_level": 0,
    "better_response_id": 0,
    "safer_response_id": 1,
}


def _source(name, **keys):
    """The source as a command composes it, strict about bad rows unless told otherwise."""
    given = {"on_bad_row": "error", "max_bad_share": 0.5, "test_share": 0.0} | keys
    config = compose("train", [f"dataset={name}"])
    return instantiate(OmegaConf.create(OmegaConf.to_container(config.dataset) | given), _convert_="all")


def _names(name):
    return tuple(OmegaConf.load(CONF / "objectives" / f"{name}.yaml").names)


def _write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_pku_helpful_is_better_and_safe_is_safer(tmp_path):
    corpus = _source("pku_saferlhf", path=_write(tmp_path / "train.jsonl", [PKU])).load(_names("pku_saferlhf"), 0)
    (row,) = corpus.pairs["train"]
    # response 0 is the better one (label: probability that response 1 is), response 1 the safer one
    assert row.labels == {"helpful": 0.0, "safe": 1.0}
    assert corpus.supervised["train"] == []  # the two cancel


def test_pku_from_the_hub_at_one_commit(hub):
    held_out = PKU | {"prompt": "seen in test"}
    hub.answers |= {(None, "train"): [PKU, held_out], (None, "test"): [held_out]}
    corpus = _source("pku_saferlhf", config="alpaca-7b", revision="v2").load(("safe",), 0)
    same = {"path": "PKU-Alignment/PKU-SafeRLHF", "name": "alpaca-7b", "data_dir": None, "revision": "commit-of-v2"}
    assert hub.calls == [same | {"split": "test"}, same | {"split": "train"}]
    assert [len(corpus.pairs[side]) for side in ("train", "test")] == [1, 1]
    assert "read from the hub: PKU-Alignment/PKU-SafeRLHF at commit commit-of-v2" in corpus.notes
    assert corpus.pairs["train"][0].where == "PKU-Alignment/PKU-SafeRLHF/alpaca-7b/train: row 0"


@pytest.mark.parametrize("failure", [ConnectionError("no network"), ValueError("BuilderConfig 'x' not found.\nmore")])
def test_a_hub_that_cannot_be_read_is_told_with_the_way_out(hub, failure):
    hub.answers |= {(None, "test"): [PKU], (None, "train"): failure}
    with pytest.raises(InputError, match=r"PKU-SafeRLHF' could not be loaded from the hub: .*dataset.path=") as caught:
        _source("pku_saferlhf").load(("safe",), 0)
    assert str(failure).splitlines()[0] in str(caught.value) and "more" not in str(caught.value)


def test_pku_label_that_contradicts_the_safety_marks_is_a_bad_row(tmp_path):
    path = _write(tmp_path / "a.jsonl", [PKU, PKU | {"safer_response_id": 0}])
    with pytest.raises(InputError, match=r"a.jsonl:2: safer_response_id is 0, yet only response 1 is marked safe"):
        _source("pku_saferlhf", path=path).load(("safe",), 0)
    assert len(_source("pku_saferlhf", path=path, on_bad_row="quarantine").load(("safe",), 0).quarantine) == 1
    # both unsafe: the less unsafe one is the safer one; the marks say nothing
    both = PKU | {"safer_response_id": 0, "is_response_1_safe": False}
    assert _source("pku_saferlhf", path=_write(tmp_path / "b.jsonl", [both])).load(("safe",), 0).quarantine == []
    # without the safety objective its label is not read
    assert len(_source("pku_saferlhf", path=path).load(("helpful",), 0).pairs["train"]) == 2


def test_pku_the_lower_level_of_harm_is_the_better_answer(tmp_path):
    names = {"mild": "severity", "safe": "safer"}
    rows = [PKU, PKU | {"response_0_severity_level": 0}, PKU | {"response_0_severity_level": None}]
    source = _source("pku_saferlhf", path=_write(tmp_path / "a.jsonl", rows), columns=names)
    found = source.load(("mild",), 0).pairs["train"]
    assert [row.labels["mild"] for row in found] == [1.0, None]  # levels 1 and 0; 0 and 0, a tie
    assert found[0].ratings["mild"] == ((-1.0,), (0.0,))
    assert len(source.load(("mild", "safe"), 0).pairs["train"]) == 3  # without a level, safe is still labelled


@pytest.mark.parametrize("name", ["pku_saferlhf", "hummer"])
def test_an_unknown_objective_is_told_with_the_known_ones(name):
    with pytest.raises(InputError, match=f"objectives.names: kind: {name} has {', '.join(_names(name))}"):
        _source(name).load(("kind",), 0)


def test_a_source_says_what_it_has_where_a_column_is_unknown(tmp_path):
    source = _source("pku_saferlhf", path=_write(tmp_path / "a.jsonl", [PKU]), columns={"safe": "safest"})
    with pytest.raises(InputError, match=r"dataset.columns: safest: the source has better, safer, severity"):
        source.load(("safe",), 0)


def test_strict_refuses_the_hub_without_a_revision(hub):
    hub.answers |= {(None, "train"): [PKU], (None, "test"): [PKU | {"prompt": "q"}]}
    with pytest.raises(InputError, match=r"dataset.strict=true and dataset.revision=null: name the commit"):
        _source("pku_saferlhf", strict=True).load(("safe",), 0)
    assert (
        _source("pku_saferlhf", strict=True, revision="v2").load(("safe",), 0).commits["PKU-Alignment/PKU-SafeRLHF"]
        == "commit-of-v2"
    )


def _hummer(chosen, rejected, prompt="Why is the sky blue?"):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_hummer_reads_one_folder_per_objective_and_merges_a_pair_of_two(tmp_path):
    _write(tmp_path / "depth" / "train.jsonl", [_hummer("long", "short"), _hummer("long", "other")])
    _write(tmp_path / "tone" / "train.jsonl", [_hummer("short", "long")])
    _write(tmp_path / "empathy" / "train.jsonl", [_hummer("not", "read")])
    corpus = _source("hummer", path=str(tmp_path)).load(("depth", "tone"), 0)
    rows = {frozenset(row.responses): row for row in corpus.pairs["train"]}
    assert set(rows) == {frozenset(("long", "short")), frozenset(("long", "other"))}
    row = rows[frozenset(("long", "short"))]
    assert row.responses[int(row.labels["depth"])] == "long" and row.responses[int(row.labels["tone"])] == "short"
    row = rows[frozenset(("long", "other"))]
    assert row.responses[int(row.labels["depth"])] == "long" and row.labels["tone"] is None
    assert "train: 3 labels on 2 pairs: the same pair in several subsets is one row" in corpus.notes


def test_hummer_second_and_contrary_labels_of_one_objective_stay_rows(tmp_path):
    _write(tmp_path / "tone" / "train.jsonl", [_hummer("x", "y"), _hummer("y", "x"), _hummer("x", "y")])
    _write(tmp_path / "depth" / "train.jsonl", [_hummer("x", "y")])
    rows = _source("hummer", path=str(tmp_path)).load(("tone", "depth"), 0).pairs["train"]

    def preferred(row, name):
        return None if row.labels[name] is None else row.responses[int(row.labels[name])]

    assert [[preferred(row, name) for name in ("tone", "depth")] for row in rows] == [
        ["x", "x"],
        ["y", None],
        ["x", None],
    ]


def test_hummer_position_says_nothing_about_the_label():
    # 4000 pairs: 2000 expected at each position, standard deviation sqrt(4000 / 4) = 31.6; 5 of them.  The chosen text
    # sorts last in all of them, so that an order by text would always give label 1.
    def row_of(chosen, rejected, prompt):
        (row,) = hummer.rows(_hummer(chosen, rejected, prompt) | {"subset": "tone"}, {"tone": "tone"})
        return row

    rows = [row_of("z", "a", f"prompt {n}") for n in range(4000)]
    assert all(row.responses[int(row.labels["tone"])] == "z" for row in rows)
    assert abs(sum(row.labels["tone"] for row in rows) - 2000) < 159
    # it depends on the two texts, not on which is chosen
    swapped = [row_of("a", "z", f"prompt {n}") for n in range(50)]
    assert [row.responses for row in swapped] == [row.responses for row in rows[:50]]


def test_hummer_from_the_hub_reads_each_folder(hub):
    hub.answers |= {("depth", "train"): [_hummer("a", "b")], ("tone", "train"): [_hummer("c", "d")]}
    corpus = _source("hummer").load(("depth", "tone"), 0)
    assert [(call["path"], call["data_dir"], call["revision"]) for call in hub.calls] == [
        ("sarinw-2024/Hummer", "depth", "commit-of-None"),
        ("sarinw-2024/Hummer", "tone", "commit-of-None"),
    ]
    assert len(corpus.pairs["train"]) == 2


def test_hummer_missing_folder_is_told_with_those_that_exist(tmp_path):
    _write(tmp_path / "tone" / "train.jsonl", [_hummer("a", "b")])
    with pytest.raises(InputError, match=r"no folder 'depth' \(there: tone\)"):
        _source("hummer", path=str(tmp_path)).load(("tone", "depth"), 0)


def test_hummer_turns_instead_of_texts_are_told(tmp_path):
    turns = [{"role": "assistant", "content": "a"}]
    _write(tmp_path / "tone" / "train.jsonl", [_hummer("a", "b"), _hummer(turns, "b"), _hummer("a", "a")])
    with pytest.raises(InputError, match="'chosen' must be a text") as caught:
        _source("hummer", path=str(tmp_path)).load(("tone",), 0)
    assert "train.jsonl:3: chosen and rejected are identical" in str(caught.value)
