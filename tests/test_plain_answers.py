"""``mora.generate`` with a plain model: what it says is what the model alone says, within what it can read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import mora
from mora.errors import InputError, visible
from mora.generate import generate
from tests.security.tokenizers import fast

SIZES = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 48}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """GPT-2, whose layers no adapter fits, with the template of ChatML and its two ends in generation_config.json."""
    place = tmp_path_factory.mktemp("plain")
    tokenizer = fast("bytes", "chatml")
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    config = AutoConfig.for_model("gpt2", **SIZES, vocab_size=len(tokenizer), eos_token_id=ends)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.mul_(8.0)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def ask(*given: str) -> None:
    generate(mora.compose(*given, command="generate"), list(given))


@pytest.mark.parametrize("prompt", ["how do cats run", "why"])
def test_a_plain_model_answers_as_stock_generation_does(folder, capsys, prompt):
    ask(f"model={folder}", f"prompt='{prompt}'", "temperature=0", "plain.max_prompt=32", "plain.max_response=12")
    said = capsys.readouterr().out
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    turn = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    batch = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    ids = model.generate(batch["input_ids"], max_new_tokens=12, do_sample=False)[0, batch["input_ids"].shape[1] :]
    ended = int(ids[-1]) in model.generation_config.eos_token_id
    expected = tokenizer.decode(ids, skip_special_tokens=True)
    assert visible(f"\n  {expected}{'' if ended else '  [cut off]'}\n") in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "run, model: name one of the two"),
        (["model=MODEL", "run=x"], "run, model: name one of the two"),
        (["model=MODEL", "preference=[0.5,0.5]"], "no objectives to weigh"),
        (["model=tiny"], "model=tiny: has no weights of its own"),
        (["model=smolm2_135m"], "there is no such folder, nor such a file in conf/model; is it smollm2_135m?"),
        (["model=minilm"], "model=minilm: is an encoder, which answers nothing"),
        (["model=hf"], "model=hf: has no weights of its own"),
        (["model=smollm2_135m"], r"model: the hub cannot be reached .* no copy of HuggingFaceTB/SmolLM2-135M-Instruct"),
        (["model=MODEL"], r"reads at most 48 tokens, and plain\.max_prompt=1024 with plain\.max_response=512 allows"),
        (["model=MODEL", "plain.template_date=today"], "plain.template_date=today: write a day"),
        (["model=./nowhere"], r"^model: \./nowhere: no such folder"),
    ],
)
def test_what_cannot_answer_is_told(folder, given, message):
    with pytest.raises(InputError, match=message):
        ask(*[one.replace("MODEL", str(folder)) for one in given], "prompt=how")


def test_an_answer_beyond_the_positions_is_refused_for_its_prompt(folder):
    limits = ("plain.max_prompt=32", "plain.max_response=12")
    with pytest.raises(InputError, match=r"max_new_tokens=40: after a prompt of \d+ tokens .* positions for \d+ more"):
        ask(f"model={folder}", "prompt='how do cats run'", *limits, "max_new_tokens=40")
