from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mora.dataset import split
from mora.dataset.assemble import SplitWriter
from mora.dataset.row_store import MemoryStore, split_name
from mora.dataset.source import Source
from mora.errors import InputError
from mora.types import Row

CONF = Path(__file__).parents[2] / "conf" / "dataset"
BASE = {"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 1}


def _load(file, objectives=("better",), rows=None, **keys):
    if rows is not None:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = OmegaConf.load(CONF / "jsonl.yaml")
    config.update({"path": str(file), "test_share": 0.0, "max_bad_share": 0.5} | keys)
    source = instantiate(config, _convert_="all")
    assert isinstance(source, Source)
    return source.load(objectives, seed=0)


def _many(count):
    return [BASE | {"prompt": f"prompt {number}", "response_0": f"a {number}"} for number in range(count)]


def test_columns_become_labels(tmp_path):
    rows = [
        {
            "prompt": "p",
            "response_0": "a",
            "response_1": "b",
            "kind_response_id": 0,
            "brief_response_id": None,
            "votes": 3,
        },
        {"prompt": "p", "response_0": "a", "response_1": "c", "kind_response_id": 1.0},
        {"prompt": "q", "response_0": "a", "response_1": "c", "kind_response_id": None, "brief_response_id": 1},
    ]
    corpus = _load(tmp_path / "a.jsonl", ("kind", "brief"), rows)
    assert [row.labels for row in corpus.pairs["train"]] == [
        {"kind": 0.0, "brief": None},
        {"kind": 1.0, "brief": None},
        {"kind": None, "brief": 1.0},
    ]
    assert corpus.pairs["train"][1].responses == ("a", "c")
    assert corpus.pairs["train"][1].where == f"{tmp_path / 'a.jsonl'}:2"
    assert [row.prompt for row in corpus.prompts["train"]] == ["p", "q"]  # each once
    assert corpus.objectives == ("kind", "brief") and corpus.world is None and corpus.quarantine == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": None}, "'prompt' must be a text, not None"),
        ({"prompt": " \n"}, "'prompt' is empty"),
        ({"response_1": ""}, "'response_1' is empty"),
        ({"response_0": ["a"]}, r"'response_0' must be a text, not \['a'\] \(list\)"),
        ({"response_0": "\ud83d"}, "half of a surrogate pair"),
        ({"response_0": "b"}, "identical, yet one of them is said to be the better"),
        ({"better_response_id": 2}, "must be 0, 1 or null, not 2"),
        ({"better_response_id": "1"}, "must be 0, 1 or null, not '1'"),
        ({"better_response_id": True}, r"must be 0, 1 or null, not True \(bool\)"),
        ({"better_response_id": float("nan")}, "NaN is no JSON"),
        ({"better_response_id": 0.5}, "must be 0, 1 or null, not 0.5"),
        ("response_1", "field 'response_1' is missing"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_reason(tmp_path, change, reason):
    bad = {k: v for k, v in BASE.items() if k != change} if isinstance(change, str) else BASE | change
    path = tmp_path / "a.jsonl"
    with pytest.raises(InputError, match=reason) as caught:
        _load(path, rows=[BASE, bad, BASE])
    assert f"{path}:2: " in str(caught.value)
    assert "1 of 3 rows are bad" in str(caught.value) and "dataset.on_bad_row=quarantine" in str(caught.value)
    corpus = _load(path, rows=[BASE, bad, BASE], on_bad_row="quarantine")
    assert len(corpus.pairs["train"]) == 2
    assert [rejected.where for rejected in corpus.quarantine] == [f"{path}:2"]
    assert any("1 of 3 rows are bad and were set aside" in note for note in corpus.notes)


def test_all_bad_rows_are_in_one_message_up_to_ten_reasons(tmp_path):
    rows = [BASE, *[BASE | {"better_response_id": 7}] * 12, *[BASE | {f"c{'x' * n}_label": 7} for n in range(12)]]
    with pytest.raises(InputError, match=r"24 of 25 rows are bad") as caught:
        _load(tmp_path / "a.jsonl", ("better", *(f"c{'x' * n}" for n in range(12))), rows=rows)
    lines = str(caught.value).splitlines()
    assert sum("must be" in line for line in lines) == 10 and "12 such rows" in lines[1]
    assert any("... and 3 more, for 3 other reasons" in line for line in lines)


def test_a_file_of_another_kind_is_told_with_its_columns(tmp_path):
    with pytest.raises(InputError, match="no good row is left; columns that exist: instruction, output"):
        _load(tmp_path / "a.jsonl", rows=[{"instruction": "a", "output": "b"}], on_bad_row="quarantine")


def test_an_objective_without_labels_is_told_with_the_columns_that_exist(tmp_path):
    rows = [BASE | {"kind_response_id": None}]
    with pytest.raises(InputError) as caught:
        _load(tmp_path / "a.jsonl", ("better", "kind", "brief"), rows)
    message = str(caught.value)
    assert "'kind' has no label: column 'kind_response_id' is null in every training row" in message
    assert "'brief' has no label: column 'brief_response_id' does not exist" in message
    assert "prompt, response_0, response_1, better_response_id, kind_response_id" in message
    assert "'better' has no label" not in message


def test_contradictory_and_repeated_pairs_are_kept_as_label_noise(tmp_path):
    rows = [BASE, BASE | {"better_response_id": 0}, BASE]
    corpus = _load(tmp_path / "a.jsonl", rows=rows)
    assert [row.labels["better"] for row in corpus.pairs["train"]] == [1.0, 0.0, 1.0]


def test_a_pair_without_a_label_gives_its_prompt_only(tmp_path):
    rows = [BASE, BASE | {"prompt": "q", "better_response_id": None}]
    corpus = _load(tmp_path / "a.jsonl", rows=rows)
    assert [row.prompt for row in corpus.pairs["train"]] == ["p"]
    assert [row.prompt for row in corpus.prompts["train"]] == ["p", "q"]
    assert any(note.startswith("1 pairs have neither label") for note in corpus.notes)


def test_supervised_rows_are_the_answers_that_most_objectives_prefer(tmp_path):
    names = ("x", "y", "z")
    ids = [(1, 1, 0), (0, None, None), (0, 1, None), (None, 1, 1), (1, 1, 1)]
    rows = [
        {"prompt": f"p{n}", "response_0": "a", "response_1": "b"}
        | {f"{name}_response_id": one for name, one in zip(names, of, strict=True)}
        for n, of in enumerate(ids)
    ]
    rows.append(rows[-1])  # the same winner again
    corpus = _load(tmp_path / "a.jsonl", names, rows)
    # 2 of 3 for b; the only one for a; a tie, left out; b; b; b again, once
    assert [(r.prompt, r.responses) for r in corpus.supervised["train"]] == [
        ("p0", ("b",)),
        ("p1", ("a",)),
        ("p3", ("b",)),
        ("p4", ("b",)),
    ]
    note = "train: 4 supervised rows made from 6 pairs: the answer that most objectives prefer"
    assert any(line.startswith(note) and "1 pairs without one left out, 1 repeats" in line for line in corpus.notes)


def test_supervised_rows_of_the_source_stay_on_the_side_of_their_prompt(tmp_path):
    _load(tmp_path / "test.jsonl", rows=[BASE | {"prompt": "held out"}])
    extra = [{"prompt": text, "response": "r"} for text in ("p", "held out", "else")]
    (tmp_path / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in extra))
    more = {"test_path": str(tmp_path / "test.jsonl"), "supervised_path": str(tmp_path / "sft.jsonl")}
    corpus = _load(tmp_path / "a.jsonl", rows=[BASE], **more)
    assert [row.prompt for row in corpus.supervised["train"]] == ["p", "else"]
    assert [row.prompt for row in corpus.supervised["test"]] == ["held out"]
    assert not any("made from" in note for note in corpus.notes)


TURNS = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]
NO_ANSWERS = {  # records of dataset.supervised_path, and what is said
    "pairs": (BASE, "pairs belong in dataset.path, and dataset.supervised_path=null"),
    "ranked": ({"prompt": "p", "chosen": "a", "rejected": "b"}, "pairs belong in dataset.path"),
    "prompts": ({"prompt": "p"}, "prompts without an answer belong in dataset.path"),
    "a response that is null": ({"prompt": "p", "response": None}, "prompts without an answer"),
    "messages": (
        {"messages": TURNS},
        "dataset=messages reads such .* algo=sft dataset=messages dataset.path=.*start.policy",
    ),
    "ShareGPT": ({"conversations": [{"from": "human", "value": "p"}]}, "dataset=messages reads such"),
    "completions": ({"prompt": "p", "completion": "r"}, "dataset=messages reads such"),
    "instructions": ({"instruction": "p", "output": "r"}, "algo=sft dataset=alpaca dataset.path="),
    "bad answers": ({"prompt": "p", "response": "r", "label": False}, "all answers are marked bad"),
    "text": (7, r"sft.jsonl:1: must be a JSON object, not int\); correct them$"),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
@pytest.mark.parametrize("on_bad_row", ["error", "quarantine"])
def test_supervised_files_without_answers_are_refused_with_what_reads_them(tmp_path, name, on_bad_row):
    record, said = NO_ANSWERS[name]
    path = tmp_path / "sft" / "sft.jsonl"
    path.parent.mkdir()
    keys = {"rows": _many(60), "supervised_path": str(path), "on_bad_row": on_bad_row}
    path.write_text(f"{json.dumps(record)}\n" * 3)
    with pytest.raises(InputError, match=rf"^dataset.supervised_path={path}: .*{said}"):
        _load(tmp_path / "a.jsonl", **keys)
    good = {"prompt": "p", "response": "r"}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(record)}\n")
    if name == "bad answers" or on_bad_row == "quarantine":
        corpus = _load(tmp_path / "a.jsonl", **keys)
        assert [row.responses for row in corpus.supervised["train"]] == [("r",)]
        assert len(corpus.quarantine) + corpus.records["without_row"] == 1
    else:
        with pytest.raises(InputError, match="1 of 62 rows are bad:\n .*sft.jsonl:2: "):
            _load(tmp_path / "a.jsonl", **keys)


def test_training_rows_of_test_prompts_are_left_out(tmp_path):
    _load(tmp_path / "test.jsonl", rows=[BASE])
    rows = [BASE, BASE | {"response_0": "c"}, BASE | {"prompt": "q"}]
    corpus = _load(tmp_path / "a.jsonl", rows=rows, test_path=str(tmp_path / "test.jsonl"))
    assert [row.prompt for row in corpus.pairs["train"]] == ["q"]
    assert len(corpus.pairs["test"]) == 1
    assert any(note.startswith("2 training rows left out") for note in corpus.notes)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=30),
    st.floats(0, 1, exclude_max=True),
    st.text(min_size=1, max_size=5),
)
def test_adding_rows_moves_no_prompt(prompts, share, added):
    def sides(texts):
        with SplitWriter(MemoryStore(), (), share, own_test=False) as splits:
            for text in texts:
                splits.train(Row(prompt=text))
        return {s: [row.prompt for row in splits.store.rows(split_name(s, "prompts"))] for s in ("train", "test")}

    before, after = sides(prompts), sides([added, *prompts])
    for side in ("train", "test"):
        assert [text for text in after[side] if text != added] == [text for text in before[side] if text != added]
    assert not {*after["train"]} & {*after["test"]} and sum(map(len, after.values())) == len(prompts) + 1


def test_the_test_share_is_the_share_of_the_prompts():
    # 4000 prompts at 0.25: 1000 expected, standard deviation sqrt(4000 * 3/16) = 27.4; 5 of them.
    assert abs(sum(split.in_test(f"prompt {n}", 0.25) for n in range(4000)) - 1000) < 137


def test_all_rows_of_a_prompt_are_in_one_split(tmp_path):
    corpus = _load(
        tmp_path / "a.jsonl", rows=_many(60) + [row | {"response_1": "c"} for row in _many(60)], test_share=0.3
    )
    sides = [{row.prompt for row in corpus.pairs[side]} for side in ("train", "test")]
    assert sides[0] and sides[1] and not sides[0] & sides[1]
    assert len(corpus.pairs["test"]) == 2 * len(sides[1])
    for kind in (corpus.supervised, corpus.prompts):
        assert [{row.prompt for row in kind[side]} for side in ("train", "test")] == sides


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path):
    rows = _many(5)
    first = _load(tmp_path / "a.jsonl", rows=rows).fingerprint
    assert _load(tmp_path / "b.jsonl", rows=[row | {"votes": 3} for row in rows]).fingerprint == first
    changed = [*rows[:4], rows[4] | {"better_response_id": 0}]
    others = {_load(tmp_path / "c.jsonl", rows=other).fingerprint for other in (changed, rows[:4], rows[::-1])}
    assert len(others | {first}) == 4


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": None}, "dataset.path is not set"),
        ({"on_bad_row": "skip"}, "dataset.on_bad_row=skip: must be error or quarantine"),
        ({"test_share": 1.0}, "dataset.test_share=1.0: must be at least 0 and less than 1"),
        ({"test_share": 1e-6}, "no test prompt among 1 conversations with dataset.test_share"),
        ({"test_share": 0.999999}, "no training row is left of 1 conversations"),
    ],
)
def test_a_bad_key_is_told(tmp_path, keys, message):
    with pytest.raises(InputError, match=message):
        _load(tmp_path / "a.jsonl", rows=[BASE], **keys)


def test_tokenizer_texts_leave_the_test_set_out(tmp_path):
    corpus = _load(tmp_path / "a.jsonl", rows=_many(60), test_share=0.3)
    texts, held_out = list(corpus.tokenizer_texts()), {row.prompt for row in corpus.prompts["test"]}
    assert len(texts) == len(set(texts)) and held_out and not held_out & set(texts)
    corpus.tokens = "words"
    assert held_out < set(corpus.tokenizer_texts())


def test_a_soft_label_is_read_before_the_id_and_must_agree_with_it(tmp_path):
    soft = [
        BASE | {"better_label": 0.75},
        BASE | {"better_response_id": None, "better_label": 0.5},
        BASE | {"better_response_id": 0, "better_label": 0.0},
        BASE | {"better_response_id": 1, "better_label": None},
    ]
    corpus = _load(tmp_path / "a.jsonl", rows=soft)
    assert [row.labels["better"] for row in corpus.pairs["train"]] == [0.75, 0.5, 0.0, 1.0]
    for change, kind in (({"better_label": 1.5}, "out_of_range"), ({"better_label": 0.25}, "contradictory_labels")):
        bad = _load(tmp_path / "a.jsonl", rows=[BASE, BASE | change], on_bad_row="quarantine")
        assert [one.kind for one in bad.quarantine] == [kind]
