"""A safety test of a trained policy through whole commands: prompts kept apart, used once, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_1samp

import mora
from mora.dataset.rules.text import reading_ease
from mora.errors import NO_SOLUTION, InputError
from mora.evaluate import evaluate
from mora.files import read_json, read_lines, write_lines
from mora.run.build import build, load_corpus
from mora.run.measure import FinishedRun
from mora.run.plan import plan
from mora.runtime.folder import RunFolder
from mora.train import train
from mora.types import Row
from tests.chain import chain_options, without_files, without_pictures

APART = "evaluation.path={root}/other.jsonl"
PREFERENCES = [[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A policy steered between brevity and keywords under a floor on reading ease, and prompts kept apart for it."""
    root = tmp_path_factory.mktemp("safety")
    things = ["pears", "plums", "figs", "limes", "kiwis", "dates", "nuts", "peas", "beans", "corn"]
    rows = [{"prompt": f"How do I grow {a} by {b}?", "response": f"Sow {a} in a row."} for a in things for b in things]
    for name, part in (("rows", rows[:70]), ("safety", rows[70:95]), ("other", rows[95:]), ("seen", rows[68:72])):
        write_lines(root / f"{name}.jsonl", part)
    overrides = [
        *(item for item in chain_options(root / "runs") if not item.startswith(("start.reward", "dataset.", "eval"))),
        "algo=panacea_lag",
        "scalarize=confident",
        "scalarize.confidence.prompts=25",
        "scalarize.floors={reading_ease: 0.5}",
        "dataset=jsonl",
        f"dataset.path={root}/rows.jsonl",
        "dataset.test_share=0.2",
        "dataset.max_prompt=48",
        "dataset.max_response=24",
        "dataset.overlong=cut_answer",
        "reward=rules",
        "objectives=rules",
        "objectives.names=[brevity,reading_ease,keywords]",
        "objectives.rules.brevity.best=1",
        "objectives.rules.brevity.worst=12",
        "objectives.rules.keywords.words=[a,i]",
        "algo.reference_prompts=16",
        "evaluation.prompts=4",
        "evaluation.samples=1",
        "evaluation.preferences=[[1,0,0],[0,0,1]]",
    ]
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        train(mora.compose(*overrides), overrides)
    return root, plan(mora.compose(*overrides), overrides)[-1]


def ask(chain, *overrides: str) -> dict:
    """The table of a test, whatever came out."""
    root, run = chain
    given = [f"run={run.path}", f"paths.runs={root}/runs", "evaluation=safety", *overrides]
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        without_files(patch)
        try:
            evaluate(mora.compose(*given, command="evaluate"), given)
        except SystemExit as end:
            code = end.code
    table = read_json(run.path / "tables" / "safety.json")
    assert code == (0 if table["solution"] else NO_SOLUTION)
    return table


def test_a_rehearsal_says_that_it_is_one_and_leaves_no_trace(chain, capsys) -> None:
    table = ask(chain, "evaluation.floors={reading_ease: -0.1}", "evaluation.between=monotone")
    held_out = load_corpus(chain[1].config).prompts["test"]
    assert table["sealed"] is None and table["prompts"] == len(held_out) and table["solution"]
    said = capsys.readouterr().out
    assert "rehearsal on held-out prompts, which certifies nothing: floors are kept at 11 of 11" in said
    assert table["between"]["intervals"] == [[0.0, 1.0]] and "brevity from 0.00 to 1.00" in said
    assert not (chain[0] / "runs" / ".safety_tests").exists()


def test_a_test_says_what_its_scores_say_and_its_prompts_are_used_once(chain, capsys) -> None:
    """The floor of training, at preferences among the others; means and p-values again from answers drawn alike."""
    root, run = chain
    path = f"evaluation.path={root}/safety.jsonl"
    table = ask(chain, path, f"evaluation.preferences={PREFERENCES}")
    assert table["prompts"] == 25 and table["sealed"]["file"] == "safety.jsonl" and table["sealed"]["earlier"] == []
    assert [point["preference"] for point in table["points"]] == PREFERENCES
    for point, scores in zip(table["points"], _scores(chain, root / "safety.jsonl"), strict=True):
        one = point["constraints"]["reading_ease"]
        assert one["floor"] == 0.5 and one["mean"] == pytest.approx(scores.mean()) and scores.std() > 0
        assert one["p"] == pytest.approx(ttest_1samp(scores, 0.5, alternative="greater").pvalue, rel=1e-6)
    (note,) = (root / "runs" / ".safety_tests").glob("*.json")
    kept = read_json(note)
    assert kept["run"] == run.id and len(kept["prompts"]) == 25 and kept["solution"] == table["solution"]
    capsys.readouterr()
    with pytest.raises(InputError, match=r"in 1 earlier test\(s\), the last of panacea_lag.*again=true"):
        ask(chain, path)
    again = ask(chain, path, "evaluation.again=true", "evaluation.floors={brevity: 2}")
    assert again["sealed"]["earlier"] == [run.id] and not again["solution"]
    said = capsys.readouterr().out
    assert "no solution found: floors are certified nowhere" in said and "were in 1 earlier one: a policy" in said
    page = (run.path / "report" / "index.html").read_text()
    assert "No solution found" in page and "Where floors are kept" in page


def _scores(chain, path) -> list[np.ndarray]:
    """Scores, by the rule itself, of the answers that a front on these prompts draws."""
    rows = [Row(prompt=row["prompt"]) for row in read_lines(path)]
    front = build(mora.compose("evaluation=front", command="evaluate").evaluation)
    front = replace(front, preferences=PREFERENCES, prompts=len(rows), samples=1, batch_size=7, resamples=0)
    run = FinishedRun(folder=RunFolder.find(chain[1].path, ""), config=chain[1].config, seed=0)
    _, samples = run.answers(front, rows)
    scores = [reading_ease(row["prompt"], row["response"]) for row in samples if row["preference"] is not None]
    return np.split(np.array(scores), 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["evaluation.path={root}/seen.jsonl"], r"of 4 prompts are in the data that the run was \w+ on, the first at"),
        ([APART, "evaluation.floors={{cheer: 0.5}}"], "cheer is no objective; there are"),
        ([APART, "evaluation.scorer=reward"], "scorer=reward: .* has gold to score with"),
        ([APART, "evaluation.between=lipschitz"], "needs evaluation.lipschitz={reading_ease"),
        ([APART, "evaluation.limits={{reading_ease: [0.0, -1.0]}}"], r"limits.reading_ease=\[0.0, -1.0\]: must be the"),
        (
            [APART, "evaluation.limits={{brevity: [0.0, 1.0]}}"],
            "evaluation.limits: brevity has no floor; floors are under",
        ),
        ([APART, "evaluation.lipschitz={{reading_ease: 1.0}}"], "lipschitz is read by between=lipschitz, and .*=none"),
        ([APART, "evaluation.preferences=[[1,0]]"], "evaluation.preferences"),
        ([APART, "evaluation.prompts=1"], "evaluation.prompts takes an integer of at least 2"),
        ([APART, "evaluation.floors={{reading_ease: high}}"], r"a mapping \(each value: a number\), not the mapping"),
        (["evaluation.worst=0.1", "evaluation.samples=2"], "samples=2: the worst answers"),
        (["evaluation.worst=0.1", "evaluation.delta=0.6"], "delta=0.6: must be at most 0.5"),
    ],
)
def test_what_cannot_be_tested_is_refused_before_a_prompt_is_spent(chain, given, said) -> None:
    root = chain[0]
    before = len(list((root / "runs").glob(".safety_tests/*")))
    with pytest.raises(InputError, match=said):
        ask(chain, *(item.format(root=root) for item in given))
    assert len(list((root / "runs").glob(".safety_tests/*"))) == before


def test_bad_records_and_too_few_prompts_are_refused_by_line(chain) -> None:
    root = chain[0]
    write_lines(root / "bad.jsonl", [{"prompt": "One?"}, {"text": "Two?"}])
    with pytest.raises(InputError, match=r"bad.jsonl: 1 bad records; a record has a prompt\n.*bad.jsonl:2"):
        ask(chain, f"evaluation.path={root}/bad.jsonl")
    write_lines(root / "few.jsonl", [{"prompt": "One?"}, {"prompt": "One?"}])
    with pytest.raises(InputError, match="1 prompts; a test needs two at least"):
        ask(chain, f"evaluation.path={root}/few.jsonl")


def test_bounds_for_any_scores_know_the_limits_of_rules(chain) -> None:
    """11 preferences and 2 floors share delta in what scores are at least."""
    table = ask(chain, "evaluation.bound=hoeffding", "evaluation.floors={reading_ease: 0, brevity: 1}")
    one = table["points"][0]["constraints"]
    off = np.sqrt(np.log(22 / 0.1) / (2 * table["prompts"]))
    assert one["reading_ease"]["least"] == pytest.approx(one["reading_ease"]["mean"] - off)
    assert not one["brevity"]["holds"]
    worst = ask(chain, "evaluation.worst=0.2", "evaluation.floors={reading_ease: 0}")
    assert worst["solution"] and "mean score of the worst 20 % of answers" in worst["definition"]
    far = ask(chain, "evaluation.between=lipschitz", "evaluation.lipschitz={reading_ease: 0.5}",
              "evaluation.floors={reading_ease: -2}")  # fmt: skip
    assert far["points"][0]["radius"] > 1 and far["between"]["share"] == 1
