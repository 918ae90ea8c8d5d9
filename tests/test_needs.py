"""What a stage needs of the data is looked at before any stage begins, and without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import mora
from mora.errors import InputError
from mora.run.needs import check_data
from mora.run.plan import plan

RANKED = {"chosen": "a", "rejected": "b"}
RATED = {"response": "a", "kind": 3}
CASES = {
    "ranked": ("jsonl", RANKED, ["better"], ["exist: chosen, prompt, rejected", "dataset=messages reads"]),
    "unpaired": ("jsonl", {"completion": "a", "label": True}, ["better"], ["completion, label", "dataset=messages"]),
    "instructions": ("jsonl", {"prompt": None, "instruction": "i", "input": "", "output": "o"}, ["better"],
                     ["no good row is left", "dataset=alpaca"]),
    "misspelt": ("jsonl", RATED, ["kinds"], ["objectives.names: kinds", "objectives.names=[kind]?"]),
    "unknown": ("jsonl", RATED, ["safe"], ["neither a training pair nor a rated answer", "kind, prompt, response"]),
    "one of two": ("jsonl", {"response_0": "a", "response_1": "b", "x_response_id": 1}, ["x", "y"],
                   ["objective 'y' has no label: column 'y_response_id' does not exist"]),
}  # fmt: skip
TURNS = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]
SHARED = [{"from": "human", "value": "p"}, {"from": "gpt", "value": "a"}]
CHATS = {  # records with messages that dataset=jsonl lacks something of, what is asked for, and what is said of them
    "answers": ({"prompt": None, "messages": TURNS}, ["x"], [], "dataset=messages reads such records"),
    "answers beside a prompt": ({"messages": TURNS}, ["x"], ["algo=sft"], "dataset=messages reads such records"),
    "answers, for a reward model": (
        {"prompt": None, "messages": TURNS}, ["x"], ["algo=reward_model", "start.policy=some/model"],
        "dataset=messages reads such records, as answers and not as pairs"),
    "ShareGPT, for a reward model": (
        {"prompt": None, "conversations": SHARED}, ["x"], ["algo=reward_model", "start.policy=some/model"],
        "as answers and not as pairs"),
    "prompts, to fine-tune": (
        {"prompt": None, "messages": TURNS[:1]}, ["x"], ["algo=sft"],
        "dataset=messages reads such records, as prompts alone"),
    "pairs for several objectives": (RANKED, ["x", "y"], ["algo=reward_model"], "dataset=messages reads such records"),
    "pairs about another objective": (
        {**RANKED, "objective": "y"}, ["x"], ["algo=reward_model"], "dataset=messages reads such records"),
    "pairs in a subset": (
        RANKED, ["x"], ["algo=reward_model", "dataset.subsets=[rows]", "dataset.path=FOLDER/{subset}.jsonl"],
        "dataset=messages reads such records"),
    "pairs in a folder of subsets": (
        RANKED, ["x"], ["algo=reward_model", "dataset.subsets=[a]", "dataset.path=FOLDER/sub"],
        "dataset=messages reads such records"),
    "a part of a mixture": (
        {"prompt": None, "messages": TURNS}, ["x"], ["dataset=mixture", "dataset.sources=[jsonl:1:FOLDER/rows.jsonl]"],
        "part 1: dataset=messages reads such records"),
    "a part without labels": (
        RANKED, ["x"], ["dataset=mixture", "dataset.sources=[jsonl:1:FOLDER/pairs.jsonl,jsonl:1:FOLDER/rows.jsonl]"],
        "part 2: dataset=messages reads such records"),
}  # fmt: skip


def _check(tmp_path, dataset, row, objectives, *overrides):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{n}"} | row) + "\n" for n in range(40)))
    given = [f"dataset={dataset}", f"objectives.names=[{','.join(objectives)}]"]
    given += [] if any("dataset.sources" in override for override in overrides) else [f"dataset.path={path}"]
    given += [f"paths.runs={tmp_path / 'runs'}", *overrides]
    check_data(plan(mora.compose(*given), given), fresh=False)


@pytest.mark.parametrize("case", CASES)
def test_columns_that_are_not_read_and_what_reads_them_are_said(tmp_path, case):
    dataset, row, objectives, said = CASES[case]
    with pytest.raises(InputError) as caught:
        _check(tmp_path, dataset, row, objectives)
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize("case", CHATS)
def test_files_of_messages_are_pointed_to_their_reader(tmp_path, case):
    row, objectives, overrides, said = CHATS[case]
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").symlink_to(tmp_path / "of_a")
    for name, rows in {"of_a/a": RANKED, "pairs": {"response_0": "a", "response_1": "b", "y_response_id": 1}}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        lines = (json.dumps({"prompt": f"q{n}"} | rows) + "\n" for n in range(40))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    overrides = [override.replace("FOLDER", str(tmp_path)) for override in overrides]
    dataset = "mixture" if "dataset=mixture" in overrides else "jsonl"
    with pytest.raises(InputError) as caught:
        _check(tmp_path, dataset, row, objectives, *(one for one in overrides if one != "dataset=mixture"))
    assert str(caught.value).endswith(said)


def test_rows_that_a_stage_does_not_need_are_not_asked_for(tmp_path):
    _check(tmp_path, "jsonl", {"response": "a"}, ["better"], "algo=sft")
    _check(tmp_path, "messages", RANKED, ["better"])


def test_a_command_refuses_before_torch_and_before_a_run(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{n}"} | RANKED) + "\n" for n in range(40)))
    code = (
        "import sys; from mora.train import main\n"
        f"sys.argv = ['train', 'dataset=jsonl', 'dataset.path={path}', 'paths.runs={tmp_path / 'runs'}']\n"
        "try: main()\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout.splitlines()[-1] == "False", done.stderr
    assert "dataset=messages" in done.stderr and not list((tmp_path / "runs").glob("sft*"))
