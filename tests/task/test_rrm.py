from __future__ import annotations

import itertools
import json
import math
import random

import pytest

from mora.errors import InputError
from mora.task import augmentation, parsing
from mora.task.rrm import win_rate


def pairs(count):
    return [
        {"prompt": f"prompt {n}", "response_0": f"{n} a", "response_1": f"{n} b", "kind_response_id": n % 2}
        for n in range(count)
    ]


def content(row):
    return row["prompt"], frozenset((row["response_0"], row["response_1"]))


def owner(text):
    return f"prompt {text.split()[0]}"


def better(row, name="kind"):
    """The better text by the soft label; None for a tie."""
    label = row[f"{name}_label"]
    return None if label == 0.5 else row[f"response_{int(label)}"]


def test_each_pair_gives_eight_non_contextual_and_six_neutral_ones(run):
    rows = pairs(12)
    found, _ = run("rrm", rows, candidates=14.0)
    assert len(found) == len({content(row) for row in found}) == 12 * 14
    for prompt, of in itertools.groupby(sorted(found, key=lambda r: r["prompt"]), key=lambda r: r["prompt"]):
        of = list(of)
        kinds = [row["augmentation"] for row in of]
        assert kinds.count("non_contextual") == 8 and kinds.count("neutral") == 6
        foreign = {owner(row[f"response_{side}"]) for row in of for side in (0, 1)} - {prompt}
        assert len(foreign) == 2
        for row in of:
            owners = [owner(row[f"response_{side}"]) for side in (0, 1)]
            if row["augmentation"] == "neutral":
                assert prompt not in owners and better(row) is None and row["kind_response_id"] is None
            else:
                assert owners.count(prompt) == 1 and owner(better(row)) == prompt
                assert row["kind_response_id"] == int(row["kind_label"])


def test_the_order_of_rows_changes_nothing(run):
    rows = pairs(30)
    shuffled = random.Random(0).sample(rows, len(rows))
    first, _ = run("rrm", rows, candidates=3.0)
    assert len(first) == 90 and first == run("rrm", shuffled, candidates=3.0)[0]
    assert first != run("rrm", rows, candidates=3.0, seed=1)[0]


def test_another_wording_of_the_prompt_is_no_other_prompt(run):
    rows = [{**row, "prompt": f"{row['prompt'].upper()}?"} for row in pairs(3)]
    rows = [*pairs(3), *({**row, "response_0": f"{row['response_0']}!"} for row in rows)]
    found, _ = run("rrm", rows, candidates=14.0)
    for row in found:
        if row["augmentation"] == "non_contextual":
            owners = {owner(row[f"response_{side}"]) for side in (0, 1)}
            assert len(owners) == 2, "an answer to the same question in other words is not off topic"
    with pytest.raises(InputError, match="fewer than three prompts"):
        run("rrm", pairs(2))


def test_answers_that_stand_under_several_prompts_are_not_used(run):
    rows = [row | {"response_1": "I cannot help."} if n < 4 else row for n, row in enumerate(pairs(12))]
    found, counts = run("rrm", rows, candidates=14.0)
    assert all("I cannot help." not in (row["response_0"], row["response_1"]) for row in found)
    lost = counts.not_made["candidates with an answer that stands under several prompts"]
    assert lost > 0


def test_objectives_free_of_context_get_no_label(run):
    rows = [row | {"safe_response_id": 0} for row in pairs(6)]
    found, _ = run("rrm", rows, context_free=["safe"])
    assert {row["safe_label"] for row in found} == {None} and None not in {row["kind_label"] for row in found}
    with pytest.raises(InputError, match="saef: no such objective; there are kind, safe"):
        run("rrm", rows, context_free=["saef"])
    with pytest.raises(InputError, match="names all objectives"):
        run("rrm", rows, context_free=["safe", "kind"])


def scored(found, margin, tmp_path):
    """A file as python -m mora.score writes it, in another order, with half of the pairs the other way round."""
    lines = []
    for number, row in enumerate(found):
        sides = (0, 1) if number % 2 else (1, 0)
        texts = [row[f"response_{side}"] for side in sides]
        gap = margin[content(row)] * (1 if sides == (0, 1) else -1)
        scores = [{"kind": {"mean": value, "quantiles": None, "members": None}} for value in (1.0, 1.0 + gap)]
        lines.append({"prompt": row["prompt"], "response_0": texts[0], "response_1": texts[1]}
                     | {"scores_0": scores[0], "scores_1": scores[1]})  # fmt: skip
    random.Random(1).shuffle(lines)
    path = tmp_path / "scored.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_scores_find_their_pair_in_any_order_and_keep_what_is_got_wrong(run, tmp_path):
    rows = pairs(10)
    candidates, _ = run("rrm", rows, candidates=14.0)
    draw = random.Random(2)
    margin = {content(row): draw.uniform(-3, 3) for row in candidates}  # of response_1 over response_0
    path = scored(candidates, margin, tmp_path)
    options = {"step": "final", "candidates": 14.0, "scores": path, "ratio": 14.0, "scale": 1.5, "surprise": 0.3}
    found, counts = run("rrm", rows, **options)
    assert [row["augmentation"] for row in found[:10]] == ["original"] * 10
    assert [{k: row[k] for k in rows[0]} for row in found[:10]] == rows
    expected = {
        content(row)
        for row in candidates
        if abs(1 / (1 + math.exp(-1.5 * margin[content(row)])) - row["kind_label"]) >= 0.3
    }
    assert {content(row) for row in found[10:]} == expected and 0 < len(expected) < 140
    assert counts.not_made["candidates that the scores get right within task.surprise=0.3"] == 140 - len(expected)
    few, _ = run("rrm", rows, **options | {"ratio": 1.0})
    assert few == found[:20], "at most one augmented pair per original, the first in the order of the hash"


def test_candidates_that_were_not_scored_are_counted(run, tmp_path):
    rows = pairs(10)
    candidates, _ = run("rrm", rows, candidates=2.0)
    path = scored(candidates[:5], {content(row): 0.1 for row in candidates}, tmp_path)
    _, counts = run("rrm", rows, step="final", candidates=2.0, scores=path, objectives=["kind"])
    assert counts.not_made["candidates without scores"] == 15
    with pytest.raises(InputError, match="no scores of safe; it has kind; name those to augment"):
        more = [row | {"safe_response_id": 1} for row in rows]
        run("rrm", more, step="final", candidates=2.0, scores=path)


def test_without_scores_the_final_file_has_candidates_unseen(run):
    found, counts = run("rrm", pairs(10), step="final", ratio=0.5)
    assert len(found) == 15 and counts.not_made["candidates beyond task.ratio=0.5 of the originals"] == 65


def test_a_win_rate_is_the_logistic_function_at_any_margin():
    for margin in (-800.0, -2.0, 0.0, 0.5, 800.0):
        expected = 1 / (1 + math.exp(-margin)) if margin > -700 else 0.0
        assert win_rate(margin) == pytest.approx(expected)


def test_the_two_other_prompts_differ_from_each_other():
    rows = [parsing.parse_pair(row | {"prompt": f"{n % 3}"}, ["kind"]) for n, row in enumerate(pairs(30))]
    for pair, first, second in augmentation.foreign(rows, 0):
        assert len({pair.prompt, first.prompt, second.prompt}) == 3
