from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from tests.chain import empty_files
from tests.report.outline import Outline

from mora.errors import InputError
from mora.files import read_json, write_json, write_lines, write_text
from mora.records.quality import RewardQuality
from mora.records.read import record
from mora.report import markup, page, sections
from mora.report.run import write_report
from mora.report.style import Plate, save_plate
from mora.report.tables import read_front


@pytest.fixture(scope="module", params=[2, 3, 5])
def report(request, make, tmp_path_factory):
    count = request.param
    run, stages = make.run(tmp_path_factory.mktemp(f"report{count}"), count, curves=count == 2, reward=count != 5)
    with pytest.MonkeyPatch.context() as patch:
        if count > 2:
            patch.setattr(page, "save_plate", _file_of_a_front)
        written = write_report(run, stages)
    return count, run, written, written.read_text(encoding="utf-8")


def _file_of_a_front(plate: Plate, folder: Path) -> list[Path]:
    """Files of fronts are drawn; those of all other figures, which take longer, are for two objectives alone."""
    return (save_plate if plate.name.startswith("front") else empty_files)(plate, folder)


def head_of(front) -> str:
    """The head of the page of a run that has a front and nothing else."""
    return markup.fill("page.html", head=sections.head(front, [], "run"), sections=[], style="")


def quality(table) -> RewardQuality:
    return record(table, RewardQuality, "reward.json")


def small(make, root: Path):
    """A run of two objectives that is quick to draw."""
    return make.run(root, 2, reward=False, curves=False)


def test_page_and_figures_exist(report):
    count, run, written, _ = report
    assert written == run / "report" / "index.html"
    names = {"front", "steering", "kl", "reward-gold-policy"}
    names |= {"reward-model", "reward-gold", "hard-cases", "conflicts"} if count != 5 else set()
    names |= {"reward-quality"} if count == 2 else set()
    names |= {"training-1-sft", "training-2-reward-model", "training-3-panacea"} if count == 2 else set()
    names |= {"front-pairs-gold", "front-pairs-reward"} if count == 3 else set()
    files = {path.name: path.read_bytes() for path in (run / "report" / "figures").iterdir()}
    assert set(files) == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    files = {name: content for name, content in files.items() if count == 2 or name.startswith("front")}
    assert all(content.startswith(b"\x89PNG" if name.endswith("png") else b"%PDF") for name, content in files.items())


def test_page_is_self_contained(report):
    _, run, _, text = report
    outline = Outline(text)
    assert not {"script", "link", "img", "iframe", "image", "object"} & set(outline.tags)
    local = [r for r in outline.references if r.startswith("#")]
    linked = [r for r in outline.references if not r.startswith("#")]
    assert linked and all((run / "report" / r).is_file() for r in linked)
    assert {r[1:] for r in local} <= set(outline.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(outline.ids)
    assert not re.search(r"@import|url\((?!#)", text)


def test_ids_are_unique_and_pictures_are_named(report):
    outline = Outline(report[3])
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.unnamed == 0
    assert outline.tags.count("h1") == 1


def test_page_says_what_was_run(report):
    count, run, _, text = report
    words = Outline(text).words
    assert run.name in words
    assert "Smoke model." in words
    assert "Judged by the gold score" in words
    assert "The judge trained the policy" not in words
    front = read_json(run / "tables" / "front.json")
    assert f"{len(front['points'])} preferences, 64 held-out prompts, 8 answers per prompt" in words
    assert f"{front['indicators']['gold']['hypervolume']['value']:.3f}" in words
    assert "exact volume above the reference point z" in words
    assert "minus 10 % of the pooled range" in words
    assert "algo.kl_coef: 0.1 -> 0.05" in words
    for section in ("front", "steering", "samples", "numbers", "reward", "training", "settings"):
        assert (f'<section id="{section}">' in text) == (section != "training" or count == 2)
    # the same prompt answered at the vertices and the center
    assert words.count("my rose has slugs") == 1
    assert text.count("guard the dog") == count + 1


def test_settings_and_answers_are_escaped(make, tmp_path, unfiled):
    run, stages = small(make, tmp_path)
    hostile = "<script>alert('x')</script> & \"q\" $x_1$ \x07 </div><b>"
    rows = [row | {"response": hostile, "prompt": f"{hostile} ?"} for row in make.samples(make.front(2))]
    write_lines(run / "tables" / "samples.jsonl", rows)
    front = read_json(run / "tables" / "front.json")
    front["objectives"] = ["<i>cu$re$", 'ca"re & <u>']
    front["model"] = "<b>model</b>"
    write_json(run / "tables" / "front.json", front)
    text = write_report(run, [("<em>sft", run)]).read_text(encoding="utf-8")
    outline = Outline(text)
    assert not {"script", "i", "u", "b", "em"} & (set(outline.tags) - {"i"}) and "<i>cu" not in text
    assert "<script>alert('x')</script> & \"q\" $x_1$ \u2407 </div><b>" in outline.words
    assert "<b>model</b>" in outline.words and "note: <b>bold</b>" in outline.words
    assert "\x07" not in text


@pytest.mark.parametrize("value", [7, "text", [7]], ids=str)
def test_a_file_of_another_form_is_named(make, tmp_path, undrawn, value):
    for name in ("reward.json", "sections.json", "front.json", "regret.json"):
        run, stages = make.run(tmp_path / name, 2, reward=False, curves=False)
        write_json(run / "tables" / name, value)
        with pytest.raises(InputError, match=re.escape(name)):
            write_report(run, stages)
        assert not (run / "report").exists()


@pytest.mark.parametrize("value", [None, -1.0, [0.5]], ids=str)
def test_a_front_whose_indicator_is_not_of_its_objectives_is_named(make, tmp_path, undrawn, value):
    run, stages = make.run(tmp_path / "run", 2, reward=False, curves=False)
    front = read_json(run / "tables" / "front.json")
    front["indicators"]["gold"]["kendall_tau"]["value"] = value
    write_json(run / "tables" / "front.json", front)
    with pytest.raises(InputError, match=r"front\.json: indicators\.gold\.kendall_tau\.value"):
        write_report(run, stages)


@pytest.mark.parametrize("key", ["accuracy", "calibration", "spread", "conflicts", "hard_cases", "objectives"])
@pytest.mark.parametrize("value", [7, "text", [7], {"cure": 7}], ids=str)
def test_a_reward_table_with_a_value_of_another_form_is_named_or_drawn(make, tmp_path, undrawn, key, value):
    run, stages = make.run(tmp_path, 2, curves=False)
    table = next(path / "tables" / "reward.json" for _, path in stages if (path / "tables" / "reward.json").exists())
    write_json(table, read_json(table) | {key: value})
    try:
        write_report(run, stages)
    except InputError as error:
        assert "reward.json" in str(error)


@pytest.mark.parametrize("line", ["7", "[1]", '"text"', '{"step": "one", "loss": 1}', '{"step": [1], "loss": 1}'])
def test_metrics_of_another_form_are_named(make, tmp_path, undrawn, line):
    run, stages = small(make, tmp_path)
    write_text(stages[0][1] / "metrics.jsonl", line + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        write_report(run, stages)


@pytest.mark.parametrize("key", ["seed", "prompts", "samples_per_prompt"])
@pytest.mark.parametrize("value", ["<script>alert(1)</script>", 1.5, True, [1], "7"])
def test_a_count_that_is_no_whole_number_is_refused(make, tmp_path, key, value):
    write_json(tmp_path / "front.json", make.front(2) | {key: value})
    with pytest.raises(InputError, match=rf"front\.json: {key} is no whole number"):
        read_front(tmp_path / "front.json")


@pytest.mark.parametrize("count", [None, 3])
def test_counts_are_shown_where_they_are_known(make, tmp_path, count):
    write_json(tmp_path / "front.json", make.front(2) | {"seed": count, "prompts": count, "samples_per_prompt": count})
    html = head_of(read_front(tmp_path / "front.json"))
    assert ("seed 3." in html) == ("3 held-out prompts" in html) == (count is not None)


def _leaves(value, path=()):
    """Paths of the texts, numbers, flags and nulls in a value of JSON; of a list, which has one form, three."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:3]):
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def _replaced(value, path, new):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


def test_no_value_of_a_front_table_is_markup(make, tmp_path):
    """Each in turn is a tag: the table is refused, or the page shows it as text."""
    evil, table, shown = "<script>alert(1)</script>", make.front(2), 0
    for path in _leaves(table):
        write_json(tmp_path / "front.json", _replaced(table, path, evil))
        try:
            front = read_front(tmp_path / "front.json")
        except InputError:
            continue
        html = head_of(front) + sections.numbers(front)
        assert "<script" not in html, path
        shown += "&lt;script" in html
    assert shown > 4


def test_no_value_of_a_reward_table_is_markup(make, tmp_path):
    run, stages = make.run(tmp_path, 2, curves=False)
    path = next(
        folder / "tables" / "reward.json" for _, folder in stages if (folder / "tables" / "reward.json").exists()
    )
    evil, table, shown = "<script>alert(1)</script>", read_json(path), 0
    for place in _leaves(table):
        try:
            html = sections.reward(quality(_replaced(table, place, evil)), [], table["objectives"])
        except InputError:
            continue
        assert "<script" not in html, place
        shown += "&lt;script" in html
    assert shown > 0


def test_a_lone_surrogate_is_replaced():
    assert markup.shown("a \ud800 b") == "a ? b"


def test_without_gold_and_reward_run(make, tmp_path, unfiled):
    run, stages = make.run(tmp_path, 2, gold=False, judge="reward", smoke=False, reward=False, curves=False)
    text = write_report(run, stages).read_text(encoding="utf-8")
    words = Outline(text).words
    assert '<section id="front">' in text and '<section id="training">' not in text
    assert '<section id="reward">' not in text and 'href="#reward"' not in text
    assert "gold" not in words.lower()
    assert "The judge trained the policy." in words
    assert "Smoke model." not in words
    assert not list((run / "report" / "figures").glob("reward*"))


def test_gold_that_trained_the_policy_is_called_out(make, tmp_path):
    table = make.front(2)
    for trained in (False, True):
        table["scorers"]["gold"][sections.TRAINED] = trained
        write_json(tmp_path / "front.json", table)
        head = head_of(read_front(tmp_path / "front.json"))
        assert ("The judge trained the policy." in head) == trained


def test_prompts_that_were_trained_on_are_called_what_they_are(make, tmp_path):
    for split, said in (("test", "64 held-out prompts"), ("train", "64 prompts of training")):
        write_json(tmp_path / "front.json", make.front(2) | {"split": split})
        head = head_of(read_front(tmp_path / "front.json"))
        assert said in head
        assert ("No held-out prompts." in head) == (split == "train")


@pytest.mark.parametrize("split", ["validation", None, ["test"]])
def test_prompts_of_no_known_split_are_refused(make, tmp_path, split):
    write_json(tmp_path / "front.json", make.front(2) | {"split": split})
    with pytest.raises(InputError, match=r"front\.json: split is none of train, test"):
        read_front(tmp_path / "front.json")


def test_a_run_without_any_table_still_has_a_page(make, tmp_path):
    run = tmp_path / "sft-x"
    write_text(run / "config.yaml", "algo: sft\n")
    write_lines(run / "metrics.jsonl", [{"step": s, "loss": 1 / s} for s in range(1, 6)])
    text = write_report(run, []).read_text(encoding="utf-8")
    assert "sft-x" in text and '<section id="training">' in text and '<section id="front">' not in text
    assert [p.name for p in sorted((run / "report" / "figures").iterdir())] == [
        "training-1-sft-x.pdf",
        "training-1-sft-x.png",
    ]


def test_missing_numbers_become_dashes(make, tmp_path, unfiled):
    run, stages = small(make, tmp_path)
    front = read_json(run / "tables" / "front.json")
    for point in front["points"]:
        point["gold_stderr"] = None
        point["kl"] = None
    front["reference"]["kl"] = None
    front["points"][3]["gold"] = [None, 0.5]
    front["world"], front["reference_point"] = None, {}
    front["indicators"]["gold"]["kendall_tau"]["value"] = [None, 0.5]
    write_json(run / "tables" / "front.json", front)
    text = write_report(run, stages).read_text(encoding="utf-8")
    assert "nan" not in Outline(text).words and "–" in Outline(text).words
    drawn = {path.name for path in (run / "report" / "figures").glob("*.png")}
    assert "front.png" in drawn and "kl.png" not in drawn


def test_one_objective_and_one_preference(make, tmp_path, unfiled):
    run, stages = small(make, tmp_path)
    front = make.front(2)
    one = {key: ([value[0]] if key in ("preference", "gold", "reward", "gold_stderr", "reward_stderr") else value)
           for key, value in front["points"][-1].items()}  # fmt: skip
    front |= {"objectives": ["cure"], "points": [one], "reference": one | {"preference": None}, "world": None}
    front |= {"indicators": {}, "reference_point": {}}
    write_json(run / "tables" / "front.json", front)
    (run / "tables" / "samples.jsonl").unlink()
    text = write_report(run, stages).read_text(encoding="utf-8")
    assert '<section id="numbers">' in text and '<section id="front">' not in text


def test_the_same_tables_give_the_same_bytes_and_replace_the_old_report(make, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "save_plate", _file_of_a_front)
    run, stages = small(make, tmp_path)
    first = write_report(run, stages)
    before = {p.relative_to(run): p.read_bytes() for p in (run / "report").rglob("*") if p.is_file()}
    write_text(first.parent / "figures" / "stale.png", "old")
    write_report(run, stages)
    after = {p.relative_to(run): p.read_bytes() for p in (run / "report").rglob("*") if p.is_file()}
    assert before == after
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == [".report.lock"]


def test_a_broken_front_table_is_named(make, tmp_path):
    run, stages = small(make, tmp_path)
    front = read_json(run / "tables" / "front.json")
    front["points"][0]["gold"] = [0.1, 0.2, 0.3]
    write_json(run / "tables" / "front.json", front)
    with pytest.raises(InputError, match=r"front\.json: points\[0\]\.gold has 3 values where 2"):
        write_report(run, stages)
    del front["judge"]
    write_json(run / "tables" / "front.json", front)
    with pytest.raises(InputError, match=r"front\.json.*judge"):
        write_report(run, stages)


def test_every_answer_of_a_run_may_be_there(make, tmp_path, undrawn):
    run, stages = small(make, tmp_path)
    rows = [
        row | {"prompt": f"prompt {p} of many", "sample": k, "response": f"answer {k} to {p}"}
        for row in make.samples(make.front(2), prompts=1)
        for p in range(20)
        for k in range(4)
    ]
    write_lines(run / "tables" / "samples.jsonl", rows)
    text = write_report(run, stages).read_text(encoding="utf-8")
    # 20 prompts, six of them: every 20/6th, rounded down
    assert re.findall(r"prompt (\d+) of many", text) == ["0", "3", "6", "10", "13", "16"]
    assert set(re.findall(r"answer (\d) to", text)) == {"0"}
    assert "600 of 880 answers at even distances" in text


def test_a_reward_model_that_is_too_small_is_called_so() -> None:
    table = {
        "objectives": ["x"],
        "kind": "scalar",
        "model": "tiny",
        "smoke": True,
        "accuracy": {"x": {"value": 0.7, "n": 9}},
        "log_loss": {"x": 0.5},
    }
    assert "Smoke model." in sections.reward(quality(table), [], ["x"]) and "0.5" in sections.reward(
        quality(table), [], ["x"]
    )
    assert "Smoke model." not in sections.reward(quality(table | {"smoke": False}), [], ["x"])
