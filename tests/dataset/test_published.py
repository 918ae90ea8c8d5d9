"""The published sources beyond their columns: what rows say, local files in each form, the hub by a stand-in."""

from __future__ import annotations

import csv
import gzip
import json
from functools import partial

import pyarrow
import pyarrow.parquet
import pytest
from tests.dataset.examples import own_objectives, source
from tests.dataset.published import (
    ATTRIBUTES,
    CSV_NAMES,
    EXAMPLES,
    HH,
    PKU,
    PREFERENCE,
    QUESTION,
    RATED,
    TALK,
    ULTRA,
    as_csv,
    said,
)

from mora.errors import InputError
from mora.turns import turns_of

HH_FOLDERS = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")


def _lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    return str(path)


def _load(name, path, objectives=None, **keys):
    given = {"path": str(path), "on_bad_row": "error"} | keys
    return source(name, **given).load(objectives or own_objectives(name), 0)


def _better(row, name):
    return None if row.labels[name] in (None, 0.5) else row.responses[int(row.labels[name])]


def _table(records):
    """Records as a table holds them: every column in every row."""
    columns = dict.fromkeys(column for record in records for column in record)
    return [{column: record.get(column) for column in columns} for record in records]


def _written(folder, form, records):
    path = folder / f"records.{form}"
    if form == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(_table(records)), path)
    elif form == "json":
        path.write_text(json.dumps(list(records), indent=1, ensure_ascii=False), encoding="utf-8")
    else:
        _lines(path, records)
    return str(path)


FORMS = ("json", "jsonl", "jsonl.gz", "parquet")
UNIFORM = {"jsonl": 1, "messages": 2, "truthfulqa": 1}  # records of one form: a table holds one type per column


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_local_copy_says_the_same_in_each_form(tmp_path, name, form):
    example = EXAMPLES[name]
    subset = {} if example.folder is None else {"subsets": [example.folder]}
    objectives = example.objectives or own_objectives(name)
    records = example.records[: UNIFORM.get(name) if form == "parquet" else None]
    expected = _load(name, _lines(tmp_path / "plain" / "lines.jsonl", records), objectives, **subset)
    corpus = _load(name, _written(tmp_path, form, records), objectives, **subset)
    assert corpus.fingerprint == expected.fingerprint and corpus.records == expected.records


HUB = {  # repository, and what is asked of it: configuration, folder, split
    "pku_saferlhf": ("PKU-Alignment/PKU-SafeRLHF", [("default", None, "train"), ("default", None, "test")]),
    "pku_saferlhf3": ("PKU-Alignment/PKU-SafeRLHF", [("default", None, "train"), ("default", None, "test")]),
    "pku_saferlhf_30k": ("PKU-Alignment/PKU-SafeRLHF-30K", [(None, None, "train"), (None, None, "test")]),
    "pku_saferlhf_10k": ("PKU-Alignment/PKU-SafeRLHF-10K", [(None, None, "train")]),
    "hummer": ("sarinw-2024/Hummer", [(None, "tone", "train")]),
    "helpsteer": ("nvidia/HelpSteer", [(None, None, "train"), (None, None, "validation")]),
    "helpsteer2": ("nvidia/HelpSteer2", [(None, None, "train"), (None, None, "validation")]),
    "helpsteer2_disagreements": ("nvidia/HelpSteer2", [(None, "disagreements", "train")]),
    "helpsteer2_preference": ("nvidia/HelpSteer2", [(None, "preference", "train")] * 2),
    "hh_rlhf": ("Anthropic/hh-rlhf", [(None, of, side) for side in ("train", "test") for of in HH_FOLDERS]),
    "hh_red_team": ("Anthropic/hh-rlhf", [(None, "red-team-attempts", "train")]),
    "truthfulqa": ("truthfulqa/truthful_qa", [("generation", None, "validation")]),
    "truthfulqa_choices": ("truthfulqa/truthful_qa", [("multiple_choice", None, "validation")]),
    "ultrafeedback": ("openbmb/UltraFeedback", [(None, None, "train")]),
    "beavertails": ("PKU-Alignment/BeaverTails", [(None, None, "330k_train"), (None, None, "330k_test")]),
    "alpaca": ("tatsu-lab/alpaca", [(None, None, "train")]),
}


def _held_out(records):
    """Records of other prompts, whatever the column that holds them."""
    other = {"prompt": "held out", "question": "held out", "instruction": "held out"}
    talk = {key: value.replace("bread", "cakes") for key, value in HH.items()}
    return [record | {key: value for key, value in (other | talk).items() if key in record} for record in records[:1]]


@pytest.mark.parametrize("name", HUB)
def test_the_hub_is_asked_for_the_parts_of_the_source(hub, name):
    example, (repository, asked) = EXAMPLES[name], HUB[name]
    for _, folder, split in asked:
        hub.answers[folder, split] = example.records if split == asked[0][2] else _held_out(example.records)
    keys = {"subsets": ["tone"]} if name == "hummer" else {}
    corpus = source(name, **keys).load(example.objectives or own_objectives(name), 0)
    commit = {"path": repository, "revision": "commit-of-None"}
    calls = [commit | {"name": of, "data_dir": folder, "split": split} for of, folder, split in asked]
    assert sorted(map(repr, hub.calls)) == sorted(repr({key: call[key] for key in hub.calls[0]}) for call in calls)
    assert corpus.commits == {repository: "commit-of-None"} and corpus.records["set_aside"] == 0


def test_a_source_without_a_readable_copy_on_the_hub_asks_for_its_files():
    with pytest.raises(InputError, match="dataset.path is not set"):
        source("alpaca_farm").load(("better",), 0)


@pytest.mark.parametrize("part", ["alpaca-7b", "alpaca2-7b", "alpaca3-8b"])
def test_pku_reads_the_part_of_one_model(hub, part):
    hub.answers |= {(None, "train"): [PKU], (None, "test"): [PKU | {"prompt": "held out"}]}
    source("pku_saferlhf", config=part).load(("helpful", "safe"), 0)
    assert [(call["name"], call["split"]) for call in hub.calls] == [(part, "test"), (part, "train")]


def test_pku_mild_is_the_lower_severity(tmp_path):
    unsafe = {"is_response_1_safe": False, "response_0_severity_level": 1, "response_1_severity_level": 3}
    records = [PKU, PKU | unsafe | {"prompt": "q"}, PKU | {"prompt": "r", "response_0_severity_level": 0}]
    rows = _load("pku_saferlhf3", _lines(tmp_path / "a.jsonl", records)).pairs["train"]
    assert [row.labels["mild"] for row in rows] == [1.0, 0.0, None]
    assert rows[1].ratings["mild"] == ((-1.0,), (-3.0,)) and rows[1].labels["safe"] == 1.0


@pytest.mark.parametrize("name", ["accuracy", "conciseness", "depth", "empathy", "specificity", "tone"])
def test_hummer_reads_each_dimension_alone(tmp_path, name):
    record = {"prompt": "p", "chosen": "a", "rejected": "b"}
    _lines(tmp_path / name / "train.jsonl", [record])
    (row,) = _load("hummer", tmp_path, (name,), subsets=[name]).pairs["train"]
    assert _better(row, name) == "a" and list(row.labels) == [name]


def test_hummer_reads_all_six_dimensions(tmp_path):
    names = own_objectives("hummer")
    for number, name in enumerate(names):
        pair = ["a", "b"] if number % 2 else ["b", "a"]
        _lines(tmp_path / name / "train.jsonl", [{"prompt": "p", "chosen": pair[0], "rejected": pair[1]}])
    (row,) = _load("hummer", tmp_path).pairs["train"]
    assert len(names) == 6 and [_better(row, name) for name in names] == ["b", "a"] * 3


def test_helpsteer_pairs_answers_wherever_they_stand(tmp_path):
    others = [RATED | {"prompt": f"other {number}"} for number in range(2000)]
    records = [RATED, *others, RATED | {"response": "A duck.", "helpfulness": 1, "verbosity": 4}]
    corpus = _load("helpsteer", _lines(tmp_path / "a.jsonl", records))
    (row,) = [row for row in corpus.pairs["train"] if row.labels["helpfulness"] is not None]
    assert (_better(row, "helpfulness"), _better(row, "verbosity"), row.labels["correctness"]) == (
        *("An emu.", "A duck."),
        None,
    )
    assert len(corpus.scored["train"]) == 2002


def test_helpsteer_marks_become_turns(tmp_path):
    (row,) = _load("helpsteer", _lines(tmp_path / "a.jsonl", [RATED]), pairing=None).scored["train"]
    assert turns_of(row.prompt) == said("Name a bird.", "A wren.", "Another one, s'il vous plaît.")


def test_helpsteer_disagreements_keep_every_annotator(tmp_path):
    votes = {name: [0, 4, 4] for name in ATTRIBUTES}
    path = _lines(tmp_path / "a.jsonl", [RATED | votes, RATED | {"response": "A duck."}])
    (row,) = _load("helpsteer2_disagreements", path, ("helpfulness",)).pairs["train"]
    assert dict(zip(row.responses, row.ratings["helpfulness"], strict=True)) == {
        "An emu.": (0.0, 4.0, 4.0),
        "A duck.": (3.0,),
    }
    assert _better(row, "helpfulness") == "A duck."  # by the mean, 3 to 2.67


@pytest.mark.parametrize(("strength", "label"), [(-3, 0.0), (-1, 0.0), (0, 0.5), (2, 1.0)])
def test_helpsteer_a_negative_strength_prefers_the_first(tmp_path, strength, label):
    held_out = PREFERENCE | {"split": "val", "prompt": "held out"}
    path = _lines(tmp_path / "a.jsonl", [held_out, PREFERENCE | {"preference_strength": strength}])
    corpus = _load("helpsteer2_preference", path)
    (row,) = corpus.pairs["train"]
    assert (row.responses, row.labels["better"]) == (("An emu.", "A duck."), label)
    assert row.strengths == {"better": abs(strength)}
    assert [row.prompt for row in corpus.pairs["test"]] == ["held out"]


def test_hh_the_folder_decides_the_objective(tmp_path):
    for number, folder in enumerate(HH_FOLDERS):
        talk = {key: value.replace("Hello", f"Hello {number}") for key, value in HH.items()}
        _lines(tmp_path / folder / "train.jsonl.gz", [talk])
        held_out = {key: value.replace("Hello", "Good day") for key, value in talk.items()}
        _lines(tmp_path / folder / "test.jsonl.gz", [held_out])
    corpus = _load("hh_rlhf", tmp_path)
    rows = corpus.pairs["train"]
    assert [[name for name, label in row.labels.items() if label is not None] for row in rows] == [
        *[["helpful"]] * 3,
        ["harmless"],
    ]
    assert all(_better(row, "helpful") == "Knead flour – 面粉." for row in rows[:3])
    assert len(corpus.pairs["test"]) == 4
    # asked for one objective, the folders of the other give no rows
    corpus = _load("hh_rlhf", tmp_path, ("harmless",))
    assert (len(corpus.pairs["train"]), len(corpus.prompts["train"])) == (1, 1)
    assert (corpus.records["used"], corpus.records["without_row"]) == (8, 6)


def test_training_conversations_that_all_begin_as_the_test_set_does_are_told(tmp_path):
    _lines(tmp_path / "train.jsonl", [HH, {key: value + "!" for key, value in HH.items()}])
    test = _lines(tmp_path / "other.jsonl", [HH])
    with pytest.raises(InputError, match=r"all 2 begin as one of the test set does.*dataset\.test_path"):
        _load("hh_rlhf", tmp_path / "train.jsonl", ("helpful",), subsets=["helpful-base"], test_path=test)


def test_hh_transcripts_become_turns_and_white_space_is_no_difference(tmp_path):
    spaced = HH | {"rejected": HH["rejected"].replace("Human: Hello ", "Human:  Hello")}
    (row,) = _load("hh_rlhf", _lines(tmp_path / "a.jsonl", [spaced]), ("helpful",), subsets=["helpful-base"]).pairs[
        "train"
    ]
    assert turns_of(row.prompt) == said("Hello", "Hi.", "How do I bake bread?")
    assert set(row.responses) == {"Knead flour – 面粉.", "No."}


def test_red_team_attempts_are_prompts_for_any_objectives(tmp_path):
    path = tmp_path / "red_team_attempts.jsonl.gz"  # one list under the name of lines
    path.write_bytes(
        gzip.compress(json.dumps([{"transcript": f"{TALK}\n\nAssistant: No."}], indent=1).encode(), mtime=0)
    )
    corpus = _load("hh_red_team", path, ("helpful", "harmless"))
    assert [row.prompt for row in corpus.prompts["train"]] == ["Hello"] and corpus.objectives == ("helpful", "harmless")


def test_truthfulqa_pairs_correct_with_incorrect_answers(tmp_path):
    rows = _load("truthfulqa", _lines(tmp_path / "a.jsonl", [QUESTION])).pairs["train"]
    assert {(_better(row, "truthful"), *set(row.responses) - {_better(row, "truthful")}) for row in rows} == {
        (good, bad) for good in QUESTION["correct_answers"] for bad in QUESTION["incorrect_answers"]
    }
    assert len(rows) == 4


def test_truthfulqa_reads_the_benchmarks_own_file(tmp_path):
    path = tmp_path / "TruthfulQA.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*CSV_NAMES.values(), "Best Incorrect Answer"])
        writer.writeheader()
        writer.writerow(as_csv(QUESTION) | {"Best Incorrect Answer": "Yes, always"})
    same = _load("truthfulqa", _lines(tmp_path / "a.jsonl", [QUESTION]))
    assert _load("truthfulqa", path).fingerprint == same.fingerprint


def test_truthfulqa_keeps_at_most_so_many_pairs_of_a_question_and_splits_by_question(tmp_path):
    records = [QUESTION | {"question": f"Question {number}?"} for number in range(60)]
    path = _lines(tmp_path / "a.jsonl", records)
    few = source("truthfulqa", path=path, test_share=0.3)
    few.read = partial(few.read.func, most=3)
    corpus = few.load(("truthful",), 0)
    sides = [[row.prompt for row in corpus.pairs[side]] for side in ("train", "test")]
    assert len(sides[0]) + len(sides[1]) == 180 and sides[1] and not set(sides[0]) & set(sides[1])
    every = source("truthfulqa", path=path, test_share=0.3).load(("truthful",), 0)
    assert {row.id for row in corpus.pairs["train"]} < {row.id for row in every.pairs["train"]}
    chosen = {frozenset(row.responses) for row in corpus.pairs["train"]}
    assert len(chosen) == 4  # not the same three of every question


def test_an_objective_may_be_renamed(tmp_path):
    path = _lines(tmp_path / "a.jsonl", [QUESTION])
    rows = _load("truthfulqa", path, ("honest",), columns={"honest": "truthful"}).pairs["train"]
    assert [list(row.labels) for row in rows] == [["honest"]] * 4


def test_ultrafeedback_casts_ratings_and_leaves_out_what_is_not_rated(tmp_path):
    path = _lines(tmp_path / "a.jsonl", [ULTRA])
    rows = _load("ultrafeedback", path, ("honesty", "truthfulness")).scored["train"]
    assert [(row.responses[0], row.ratings) for row in rows] == [
        ("Large.", {"honesty": ((5.0,),), "truthfulness": ((5.0,),)}),
        ("A bird.", {"honesty": ((2.0,),)}),
        ("It flies.", {"honesty": ((1.0,),), "truthfulness": ((1.0,),)}),
    ]


def test_ultrafeedback_can_leave_out_a_source(tmp_path):
    path = _lines(tmp_path / "a.jsonl", [ULTRA, ULTRA | {"source": "truthful_qa", "instruction": "q"}])
    some = source("ultrafeedback", path=path)
    some.read = partial(some.read.func, without=["truthful_qa"])
    corpus = some.load(("honesty",), 0)
    assert [row.prompt for row in corpus.prompts["train"]] == [ULTRA["instruction"]]
    assert corpus.records["without_row"] == 1


def test_beavertails_annotators_of_one_answer_are_taken_together(tmp_path):
    corpus = _load("beavertails", _lines(tmp_path / "a.jsonl", EXAMPLES["beavertails"].records))
    (row,) = corpus.pairs["train"]
    assert dict(zip(row.responses, row.ratings["safe"], strict=True)) == {
        "Call someone.": (1.0, 0.0),
        "Pick it.": (0.0,),
    }
    assert _better(row, "safe") == "Call someone."


def test_alpaca_farm_reads_pairs_answers_and_prompts_of_one_folder(tmp_path):
    (tmp_path / "val.json").write_text(json.dumps([{"instruction": "v", "input": "", "output": "w"}]))
    (tmp_path / "all.json").write_text(json.dumps(EXAMPLES["alpaca_farm"].records))
    corpus = _load("alpaca_farm", tmp_path)
    (row,) = corpus.pairs["train"]
    assert _better(row, "better") == "A wren."
    assert [row.prompt for row in corpus.supervised["train"]] == ["Add the numbers.\n\n2, 3"]
    assert [row.prompt for row in corpus.supervised["test"]] == ["v"]


def test_messages_label_the_objective_that_a_record_names(tmp_path):
    base = {"messages": said("Name a cat."), "chosen": "A manul.", "rejected": "A cod."}
    records = [base | {"objective": name} for name in ("kind", "brief", "other")]
    corpus = _load("messages", _lines(tmp_path / "a.jsonl", records), ("kind", "brief"))
    rows = corpus.pairs["train"]
    assert [[n for n, label in row.labels.items() if label is not None] for row in rows] == [["kind"], ["brief"]]
    assert corpus.records["without_row"] == 1
    with pytest.raises(InputError, match="field 'objective' is missing"):
        _load("messages", _lines(tmp_path / "b.jsonl", [base]), ("kind", "brief"))


def test_messages_of_several_turns_and_ratings(tmp_path):
    talk = said("Hello", "Hi.", "Name a bird.", "A wren.")
    system = [{"role": "system", "content": "Be brief."}]
    records = [{"messages": [*system, *talk], "kind": [3, 4]}, {"messages": talk, "kind": None}, {"messages": talk[:3]}]
    corpus = _load("messages", _lines(tmp_path / "a.jsonl", records), ("kind",))
    (scored,), (supervised,) = corpus.scored["train"], corpus.supervised["train"]
    assert turns_of(scored.prompt) == [*system, *talk[:3]] and scored.ratings == {"kind": ((3.0, 4.0),)}
    assert (turns_of(supervised.prompt), supervised.responses) == (talk[:3], ("A wren.",))
