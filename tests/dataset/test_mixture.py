from __future__ import annotations

import copy
import json

import pytest
from tests.composed import composed

import mora
from mora.dataset.pinned import by_content
from mora.errors import InputError
from mora.run.build import build
from mora.settings.identity import plain
from mora.settings.mixture import expanded


@pytest.fixture
def files(tmp_path):
    """Two files of pairs with 200 and 100 prompts, labelled for an objective each, and answers to 50 more."""
    for name, count in (("kind", 200), ("brief", 100)):
        rows = [
            {"prompt": f"{name} {n}", "response_0": "a", "response_1": "b", f"{name}_response_id": n % 2}
            for n in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"prompt": f"sft {n}", "response": "r"} for n in range(50)]
    (tmp_path / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return tmp_path


def _config(*parts, names=("kind", "brief"), seed=0):
    given = json.dumps(list(parts)) if all(isinstance(part, str) for part in parts) else None
    words = [f"dataset.sources={given}"] if given else []
    named = f"objectives.names=[{','.join(names)}]"
    config = copy.deepcopy(composed("dataset=mixture", named, f"seed={seed}", *words))
    if not given:
        config["dataset"]["sources"] = list(parts)
    return expanded(config)


def _load(*parts, names=("kind", "brief"), seed=0):
    config = _config(*parts, names=names, seed=seed)
    return build(config["dataset"]).load(tuple(names), seed)


def _count(corpus, kind="pairs", side="train"):
    return {
        name: sum(row.prompt.startswith(name) for row in getattr(corpus, kind)[side])
        for name in ("kind", "brief", "sft")
    }


def test_a_proportion_is_of_the_prompts_and_the_test_sets_are_whole(files):
    half = _load(f"jsonl:1/2:{files}/kind.jsonl", f"jsonl:1:{files}/brief.jsonl", f"jsonl:1:{files}/sft.jsonl")
    whole = _load(f"jsonl:1:{files}/kind.jsonl", f"jsonl:1:{files}/brief.jsonl", f"jsonl:1:{files}/sft.jsonl")
    full = _count(whole)
    # about 180 training prompts at 1/2: 90 expected, standard deviation 6.7; 5 of them
    assert abs(_count(half)["kind"] - full["kind"] / 2) < 34 and _count(half)["brief"] == full["brief"] > 80
    assert _count(half, side="test") == _count(whole, side="test") and _count(half, side="test")["kind"] > 0
    assert _count(half, "supervised")["sft"] > 40 and _count(half, "prompts")["sft"] > 40
    # rows of a part say nothing on what it does not label, and the chosen prompts are those of every kind of row
    assert {tuple(row.labels) for row in half.pairs["train"]} == {("kind", "brief")}
    assert all(row.labels["brief"] is None for row in half.pairs["train"] if row.prompt.startswith("kind"))
    assert {row.prompt for row in half.pairs["train"]} == {
        row.prompt for row in half.prompts["train"] if not row.prompt.startswith("sft")
    }


def test_what_is_chosen_depends_on_the_seed_of_the_part_and_not_on_other_rows(files):
    def chosen(**keys):
        part = {"dataset": "jsonl", "path": f"{files}/kind.jsonl", "fraction": 0.5} | keys
        seed = part.pop("of_run", 0)
        return {row.prompt for row in _load(part, names=("kind",), seed=seed).pairs["train"]}

    first = chosen()
    assert chosen(seed=0) == first != chosen(seed=1) == chosen(of_run=1)
    path = files / "kind.jsonl"
    more = [
        json.dumps({"prompt": f"kind {n}", "response_0": "a", "response_1": "b", "kind_response_id": 0})
        for n in (900, 901)
    ]
    path.write_text("\n".join(more) + "\n" + path.read_text())
    assert chosen() - {"kind 900", "kind 901"} == first


def test_copies_counts_and_weights(files):
    def sizes(one, other):
        parts = [
            {"dataset": "jsonl", "path": f"{files}/kind.jsonl", "test_share": 0.0} | one,
            {"dataset": "jsonl", "path": f"{files}/brief.jsonl", "test_share": 0.0} | other,
        ]
        found = _count(_load(*parts))
        return found["kind"], found["brief"]

    assert sizes({"count": 30}, {"fraction": 2}) == (30, 200)  # every row twice
    assert sizes({"weight": 1}, {"weight": 1}) == (100, 100)  # as many as go without copies
    assert sizes({"weight": 3}, {"weight": 1}) == (200, 67)
    kind, brief = sizes({"fraction": 1}, {"fraction": 1.5})
    assert kind == 200 and abs(brief - 150) < 25


def test_a_test_prompt_of_one_part_is_not_trained_on_in_another(files):
    (files / "held.jsonl").write_text((files / "kind.jsonl").read_text().splitlines()[7] + "\n")
    part = {"dataset": "jsonl", "path": f"{files}/brief.jsonl", "test_path": f"{files}/held.jsonl", "fraction": 1}
    other = {"dataset": "jsonl", "path": f"{files}/kind.jsonl", "test_share": 0.0, "fraction": 1}
    corpus = _load(other, part)
    assert "kind 7" not in {row.prompt for row in corpus.prompts["train"]}
    assert any("1 left out: their conversations are in a test set" in note for note in corpus.notes)


def test_the_identity_follows_the_content_of_each_part(files):
    def identity():
        return by_content(_config(f"jsonl:1:{files}/kind.jsonl", f"jsonl:1:{files}/brief.jsonl")["dataset"], ())

    before = identity()
    assert str(files) not in json.dumps(before)
    with (files / "brief.jsonl").open("a") as stream:
        stream.write("\n")
    assert identity() != before
    assert expanded(_config(f"jsonl:1:{files}/kind.jsonl")) == _config(f"jsonl:1:{files}/kind.jsonl")  # once is enough


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "dataset.sources is empty"),
        (("jsonl:many:x",), r"dataset.sources\[0\]=jsonl:many:x: 'many' is no proportion"),
        (("jsonl:1/0:x",), "'1/0' is no proportion"),
        (("nosuch:1",), r"(?s)dataset.sources\[0\]: .*dataset=nosuch: no such choice"),
        (("garden:1",), "dataset=garden makes its own rows and cannot be mixed"),
        (({"path": "x"},), "name the source"),
        (({"dataset": "jsonl", "pathh": "x", "fraction": 1},), "dataset.pathh: unknown key"),
        (({"dataset": "jsonl", "path": "x"},), "give one of fraction=None, count=None and weight=None"),
        (({"dataset": "jsonl", "path": "x", "fraction": 1, "count": 3},), "give one of"),
        (("jsonl:-1:x",), "give one of fraction=-1.0"),
    ],
)
def test_a_part_that_means_nothing_is_told(parts, message):
    with pytest.raises(InputError, match=message):
        _load(*parts)


def test_a_count_above_what_there_is_and_an_objective_without_labels_are_told(files):
    part = {"dataset": "jsonl", "path": f"{files}/kind.jsonl", "test_share": 0.0, "count": 201}
    with pytest.raises(InputError, match="jsonl: count=201, and there are 200 prompts to train on"):
        _load(part, names=("kind",))
    with pytest.raises(InputError, match="dataset.sources:\n.*objective 'brief' has no label"):
        _load(f"jsonl:1:{files}/kind.jsonl")


def test_helpful_and_harmless_pairs_with_questions_of_honesty(tmp_path):
    for folder, better in (("helpful-base", "Of course."), ("harmless-base", "I would rather not.")):
        rows = [
            {
                "chosen": f"\n\nHuman: {folder} {n}\n\nAssistant: {better}",
                "rejected": f"\n\nHuman: {folder} {n}\n\nAssistant: Go away.",
            }
            for n in range(3)
        ]
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = [
        {
            "question": f"Question {n}?",
            "best_answer": "A.",
            "correct_answers": ["A.", "B."],
            "incorrect_answers": ["C."],
        }
        | {"type": "t", "category": "c", "source": "s"}
        for n in range(4)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    config = plain(mora.compose("dataset=hh_truthfulqa"))
    folders = {"path": str(tmp_path), "subsets": ["helpful-base", "harmless-base"], "test_split": None}
    places = (folders, {"path": f"{tmp_path}/questions.jsonl"})
    parts = [
        part | place | {"test_share": 0.0} for part, place in zip(config["dataset"]["sources"], places, strict=True)
    ]
    config["dataset"]["sources"] = parts
    names = ("helpful", "harmless", "honest")
    assert tuple(config["objectives"]["names"]) == names
    corpus = build(expanded(config)["dataset"]).load(names, 0)
    found = set()
    for row in corpus.pairs["train"]:
        ((name, label),) = ((name, label) for name, label in row.labels.items() if label is not None)
        found.add((name, row.responses[int(label)]))
    assert found == {
        ("helpful", "Of course."),
        ("harmless", "I would rather not."),
        ("honest", "A."),
        ("honest", "B."),
    }
    assert len(corpus.pairs["train"]) == 3 + 3 + 4 * 2
