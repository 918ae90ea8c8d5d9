"""Records of every source, true to its published columns and written for these tests: ``EXAMPLES``.

A source joins `test_corruption.py` and `test_published.py` by a row in that table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.dataset import examples
from tests.dataset.examples import FLAG, ITEMS, LABEL, MARK, MAY_BE_EMPTY, OBJECT, REMOVED, TEXT, USED, Example, Wrong

PKU_30K = {
    "prompt": "How do I open a lock?",
    "response_0": "Take a pick.",
    "response_1": "Call a locksmith – 锁匠, serrurier.",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "better_response_id": 0,
    "safer_response_id": 1,
}
PKU = PKU_30K | {
    "prompt_source": "Alpaca3-70B",
    "response_0_source": "Alpaca3-8B",
    "response_1_source": "WizardLM-30B-Uncensored",
    "response_0_harm_category": {"Privacy Violation": False, "Economic Crime": True},
    "response_1_harm_category": {"Privacy Violation": False, "Economic Crime": False},
    "response_0_severity_level": 1,
    "response_1_severity_level": 0,
}
UNLABELLED = dict.fromkeys(("better_response_id", "safer_response_id", "is_response_0_safe", "is_response_1_safe"))
SAME = {"response_0": "same", "response_1": "same"}
SEVERITY = ("response_0_severity_level", "response_1_severity_level")


def _pku(record: Mapping[str, Any]) -> Example:
    """Four pairs: the two labels cancel, agree, are absent; and the answers are the same and unlabelled."""
    records = [
        record,
        record | {"prompt": "And a window?", "better_response_id": 1},
        record | {"prompt": "And a door?"} | UNLABELLED | dict.fromkeys(set(SEVERITY) & set(record)),
        record | {"prompt": "And a gate?"} | UNLABELLED | SAME | dict.fromkeys(set(SEVERITY) & set(record)),
    ]
    columns: dict[str, Wrong] = {
        **dict.fromkeys(("prompt", "response_0", "response_1"), TEXT),
        **dict.fromkeys(("better_response_id", "safer_response_id"), LABEL),
        **dict.fromkeys(("is_response_0_safe", "is_response_1_safe"), FLAG),
        **dict.fromkeys(SEVERITY, examples.rating(0, 3, required=False)),
    }
    wrong = [({"safer_response_id": 0}, "contradictory_labels"), (SAME, "identical_responses")]
    return Example(records=records, rows=(2, 0, 1, 4, 0), columns=columns, contradictions=wrong)


def _pku3() -> Example:
    """Severity decides the first pair for the safe answer, so no labels cancel."""
    example = _pku(PKU)
    unlabelled = {"better_response_id": None, "safer_response_id": None}
    return Example(
        records=example.records,
        rows=(2, 0, 2, 4, 0),
        columns=example.columns,
        contradictions=[*example.contradictions, (SAME | unlabelled, "identical_responses")],
    )


HUMMER = {"prompt": "Why is the sky blue?", "chosen": "Rayleigh scattering ☀.", "rejected": "It is painted."}
RATED = {
    "prompt": "Name a bird.\n<extra_id_1>Assistant\nA wren.\n<extra_id_1>User\nAnother one, s'il vous plaît.",
    "response": "An emu.",
    "helpfulness": 3,
    "correctness": 4,
    "coherence": 4,
    "complexity": 0,
    "verbosity": 1,
}
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
BROKEN_TURNS = [
    ({"prompt": "a\n<extra_id_1>Assistant\nb"}, "broken_conversation"),
    ({"prompt": "a\n<extra_id_1>User\nb"}, "broken_conversation"),
    ({"prompt": "a\n<extra_id_1>Assistant\n \n<extra_id_1>User\nb"}, "broken_conversation"),
    ({"prompt": "a <extra_id_1>System\nb"}, "broken_conversation"),
]


def _helpsteer(record: Mapping[str, Any], folder: str | None = None) -> Example:
    """Three answers to one prompt, not all in a row, of which two are tied on one attribute; one that nobody rated."""
    low = {name: [record[name][0] - 1] if folder else record[name] - 1 for name in ("helpfulness", "verbosity")}
    records = [
        record,
        record | {"response": "A duck.", "helpfulness": low["helpfulness"]},
        record | {"prompt": "Name a fish.", "response": "A cod.", "source": "an extra column"},
        record | {"response": "An owl.", "verbosity": low["verbosity"]},
        record | {"prompt": "Name a cat.", "response": "A manul."} | dict.fromkeys(ATTRIBUTES),
    ]
    columns = {"prompt": TEXT, "response": TEXT, **dict.fromkeys(ATTRIBUTES, examples.rating(0, 4, required=True))}
    return Example(records=records, rows=(4, 4, 1, 2, 1), columns=columns, contradictions=BROKEN_TURNS, folder=folder)


PREFERENCE = {
    "split": "train",
    "prompt": RATED["prompt"],
    "response_1": "An emu.",
    "response_2": "A duck.",
    "preference_strength": -2,
    "preference_statement": "@Response 1 is better than @Response 2",
    "preference_elaboration": None,
    "three_most_similar_preferences": [{"statement": "s", "elaboration": "e", "strength": -2}],
    "all_preferences_unprocessed": [{"strength": -2, "justification": "j"}],
}
TALK = "\n\nHuman: Hello \n\nAssistant: Hi.\n\nHuman: How do I bake bread?"
HH = {"chosen": f"{TALK}\n\nAssistant: Knead flour – 面粉.", "rejected": f"{TALK}\n\nAssistant: No."}
QUESTION = {
    "type": "Adversarial",
    "category": "Birds",
    "question": "Do ostriches hide their heads in sand?",
    "best_answer": "No, they lie flat",
    "correct_answers": ["No, they lie flat", "No – c'est un mythe"],
    "incorrect_answers": ["Yes, always", "Yes, when afraid", "Yes, always"],
    "source": "none",
}
CSV_NAMES = {name: name.replace("_", " ").title() for name in QUESTION}


def as_csv(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as the benchmark's own CSV has it."""
    return {CSV_NAMES[key]: "; ".join(value) if isinstance(value, list) else value for key, value in record.items()}


ANSWERS: Wrong = [
    *[(REMOVED, "missing_field"), (None, "wrong_type"), (7, "wrong_type"), ([1], "wrong_type")],
    *[([], "empty_text"), ([""], "empty_text"), (" ; ", "empty_text"), ("a; \ud83d", "broken_text")],
]
CHOICES = {
    "question": QUESTION["question"],
    "mc1_targets": {"choices": ["No", "Yes"], "labels": [1, 0]},
    "mc2_targets": {"choices": ["No", "Yes", "Never", "Perhaps"], "labels": [1, 0, 1, 0]},
}


def _completion(response: str, *ratings: Any) -> dict[str, Any]:
    aspects = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    notes = {aspect: {"Rating": rating, "Rationale": "r"} for aspect, rating in zip(aspects, ratings, strict=True)}
    return {"model": "m", "response": response, "annotations": notes, "overall_score": 7.5}


ULTRA = {
    "source": "sharegpt",
    "instruction": "Describe an ostrich – 鸵鸟.",
    "models": ["a", "b", "c", "d"],
    "completions": [
        _completion("Large.", "4", "5", "5", "3"),
        _completion("A bird.", "4", "2", "N/A", "3"),
        _completion("It flies.", "1", "1", "1", "1"),
        _completion("?", "N/A", "N/A", "N/A", None),
    ],
}
ASPECT: Wrong = [
    *[(REMOVED, "missing_field"), (None, USED), ("N/A", USED), (3, USED)],
    *[("good", "wrong_type"), (True, "wrong_type"), ([3], "wrong_type"), ("nan", "wrong_type")],
    *[("0", "out_of_range"), (6, "out_of_range")],
]
BEAVER = {"prompt": "How do I open a lock?", "response": "Call someone.", "category": {"Theft": False}, "is_safe": True}
ALPACA = {"instruction": "Add the numbers.", "input": "2, 3", "output": "5 ✓", "text": "an extra column"}
FARM = {"instruction": "Name a bird.", "input": "", "output_1": "A wren.", "output_2": "A cod.", "preference": 1}
INPUT: Wrong = [(None, USED) if value is None else (value, kind) for value, kind in MAY_BE_EMPTY]


def said(*turns: str) -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    return [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]


MESSAGES = {"messages": said("Hello", "Hi.", "Name a bird.", "A wren – 鷦鷯.")}
MESSAGE: Wrong = [*TEXT[:-2], ("", "broken_conversation"), (" \n", "broken_conversation")]
ROLE: Wrong = [(REMOVED, "missing_field"), (None, "wrong_type"), ("tool", "broken_conversation")]
SEVERAL = [
    {"prompt": "Name a cat.", "chosen": "A manul.", "rejected": "A cod."},
    {"prompt": said("Name a cow."), "chosen": said("", "A yak.")[1:], "rejected": said("", "An ox.")[1:]},
    {"chosen": said("Name a dog.", "A pug."), "rejected": said("Name a dog.", "A cod."), "prompt": "Name a dog."},
    {"messages": said("Name a fish."), "response_0": "A cod.", "response_1": "A pug.", "better_response_id": 0},
]
NEUTRAL = {
    "prompt": "Name a bird.",
    "response_0": "A wren – 鷦鷯.",
    "response_1": "A cod.",
    "better_response_id": 0,
    "better_rating_0": [4, 5],
    "better_rating_1": 1.5,
    "better_strength": 2,
}
NUMBER: Wrong = [(REMOVED, USED), (None, USED), ("3", "wrong_type"), (True, "wrong_type"), (float("inf"), "wrong_type")]
EXAMPLES: dict[str, Example] = {
    "jsonl": Example(
        records=[
            NEUTRAL,
            {"prompt": "Name a cat.", "response": "A manul.", "better": [3, 4]},
            {"prompt": "Name a dog.", "response": "A pug."},
            {"prompt": "Sing."},
        ],
        rows=(2, 1, 1, 3, 0),
        columns={
            **{"prompt": TEXT, "response_0": TEXT, "response_1": TEXT, "better_response_id": LABEL},
            **dict.fromkeys(("better_rating_0", "better_rating_1"), NUMBER),
            **{"better_strength": [*NUMBER, (-1, "out_of_range")]},
        },
        contradictions=[({"response_0": "same", "response_1": "same"}, "identical_responses")],
    ),
    "pku_saferlhf": _pku(PKU),
    "pku_saferlhf3": _pku3(),
    "pku_saferlhf_30k": _pku(PKU_30K),
    "pku_saferlhf_10k": _pku(PKU_30K),
    "hummer": Example(
        records=[HUMMER, HUMMER | {"chosen": "It scatters.", "extra": 1}, HUMMER | {"prompt": "And red?"}],
        rows=(3, 0, 3, 2, 0),
        columns=dict.fromkeys(HUMMER, TEXT),
        contradictions=[({"chosen": "same", "rejected": "same"}, "identical_responses")],
        folder="tone",
        objectives=("tone",),
    ),
    "helpsteer": _helpsteer(RATED),
    "helpsteer2": _helpsteer(RATED),
    "helpsteer2_disagreements": _helpsteer(
        RATED | {name: [RATED[name], RATED[name]] for name in ATTRIBUTES}, folder="disagreements"
    ),
    "helpsteer2_preference": Example(
        records=[
            PREFERENCE,
            PREFERENCE | {"prompt": "tie", "preference_strength": 0},
            PREFERENCE | {"prompt": "held out", "split": "val"},
        ],
        rows=(2, 0, 1, 2, 0),
        columns={
            **{"split": [(REMOVED, "missing_field"), (None, "out_of_range"), ("test", "out_of_range")]},
            **dict.fromkeys(("prompt", "response_1", "response_2"), TEXT),
            **{"preference_strength": examples.whole(-3, 3)},
        },
        contradictions=[({"response_1": "same", "response_2": "same"}, "identical_responses"), *BROKEN_TURNS],
        folder="preference",
    ),
    "hh_rlhf": Example(
        records=[HH, {"chosen": "Human: a\n\nAssistant: b", "rejected": " Human:  a \n\nAssistant: c", "extra": None}],
        rows=(2, 0, 2, 2, 0),
        columns=dict.fromkeys(HH, [*TEXT, ("Hello", "broken_conversation"), (TALK, "broken_conversation")]),
        contradictions=[
            ({"chosen": HH["rejected"]}, "identical_responses"),
            ({"chosen": HH["chosen"].replace("bread", "cake")}, "broken_conversation"),
            ({"chosen": f"{TALK}\n\nAssistant: x\n\nAssistant: y"}, "broken_conversation"),
            ({"rejected": "\n\nAssistant: a"}, "broken_conversation"),
            ({"rejected": f"{TALK}\n\nAssistant: "}, "empty_text"),
        ],
        folder="helpful-base",
        objectives=("helpful",),
    ),
    "hh_red_team": Example(
        records=[
            {"transcript": HH["chosen"], "rating": 4.0, "tags": None, "is_upworker": False},
            {"transcript": "Human: Hello\n\nHuman: twice"},
        ],
        rows=(0, 0, 0, 1, 0),
        columns={"transcript": [*TEXT, ("Hello", "broken_conversation"), ("Assistant: Hi", "broken_conversation")]},
        folder="red-team-attempts",
    ),
    "truthfulqa": Example(
        records=[QUESTION, as_csv(QUESTION | {"question": "Do emus fly?", "best_answer": "No"})],
        rows=(10, 0, 5, 2, 0),
        columns={
            **dict.fromkeys(("question", "best_answer"), TEXT),
            **dict.fromkeys(("correct_answers", "incorrect_answers"), ANSWERS),
        },
        contradictions=[({"incorrect_answers": QUESTION["correct_answers"]}, "contradictory_labels")],
    ),
    "truthfulqa_choices": Example(
        records=[CHOICES],
        rows=(4, 0, 2, 1, 0),
        columns={
            **{"question": TEXT, "mc2_targets": [*OBJECT, (None, "wrong_type")]},
            **{"mc2_targets.choices": [*ITEMS, ([], "contradictory_labels"), (["a", "", "b", "c"], "empty_text")]},
            "mc2_targets.labels": [*ITEMS, ([1], "contradictory_labels"), ([1] * 4, "out_of_range")],
            "mc2_targets.labels.0": [(None, "wrong_type"), ("1", "wrong_type"), (2, "out_of_range")],
        },
        contradictions=[({"mc2_targets": {"choices": ["a", "a"], "labels": [0, 1]}}, "contradictory_labels")],
    ),
    "ultrafeedback": Example(
        records=[ULTRA, ULTRA | {"instruction": "none", "completions": []}],
        rows=(3, 3, 2, 1, 1),
        columns={
            **{"instruction": TEXT, "completions": ITEMS, "completions.1": [(None, "wrong_type"), ("a", "wrong_type")]},
            **{"completions.1.response": TEXT, "completions.1.annotations": [*OBJECT, (None, "wrong_type")]},
            "completions.1.annotations.honesty": [*OBJECT, (None, USED)],
            "completions.1.annotations.honesty.Rating": ASPECT,
        },
    ),
    "beavertails": Example(
        records=[BEAVER, BEAVER | {"response": "Pick it.", "is_safe": False}, BEAVER | {"is_safe": False}],
        rows=(1, 3, 1, 1, 0),
        columns={"prompt": TEXT, "response": TEXT, "is_safe": MARK},
    ),
    "alpaca": Example(
        records=[ALPACA, ALPACA | {"input": ""}, ALPACA | {"instruction": "Sing.", "input": None}],
        rows=(0, 0, 3, 3, 0),
        columns={"instruction": TEXT, "input": INPUT, "output": TEXT},
    ),
    "alpaca_farm": Example(
        records=[FARM, ALPACA, {"instruction": "Sing.", "input": "", "output": None}],
        rows=(1, 0, 1, 2, 0),
        columns={
            **dict.fromkeys(("instruction", "output_1", "output_2"), TEXT),
            **{"input": INPUT, "preference": examples.whole(1, 2)},
        },
        contradictions=[({"output_1": "same", "output_2": "same"}, "identical_responses")],
    ),
    "messages": Example(
        records=[MESSAGES, {"messages": said("Hello")}, *SEVERAL],
        rows=(4, 0, 1, 5, 0),
        columns={
            **{"messages": [*ITEMS, ([], "empty_text"), (["a"], "wrong_type")], "messages.2.role": ROLE},
            **{"messages.2.content": MESSAGE, "messages.3.content": TEXT},
        },
        contradictions=[
            ({"chosen": said("a", "b"), "rejected": said("c", "d")}, "broken_conversation"),
            ({"chosen": said("a", "b"), "rejected": said("a", "b")}, "identical_responses"),
            ({"chosen": said("a", "b")}, "missing_field"),
            ({"chosen": said("a"), "rejected": said("a", "b")}, "broken_conversation"),
            ({"response_0": "a", "response_1": "b", "better_response_id": 1}, "broken_conversation"),
        ],
    ),
}
