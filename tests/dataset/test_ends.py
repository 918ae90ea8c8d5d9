"""Which tokens end an answer: as the template writes it, as the model's configuration names it, wherever it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.security.tokenizers import FAMILIES, fast
from transformers import AutoTokenizer

from mora.dataset.collate import scored
from mora.dataset.encode import Encoder
from mora.dataset.tokenizing import encoded
from mora.ends import KEY, name_ends
from mora.errors import InputError
from mora.model.generate import response_mask
from mora.model.load import load_tokenizer
from mora.reward.texts import Texts
from mora.runtime.sampling import decode
from mora.types import Row, Sampled

ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>"}  # others end with the end token
ANSWER = "they run very fast"


def encoder(tokenizer, longest: int = 40) -> Encoder:
    return Encoder(tokenizer, 200, longest, "cut_answer")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("make", ["bytes", "metaspace"])
def test_an_answer_ends_as_the_template_ends_a_turn(make, family):
    of = encoder(fast(make, family))
    end, eos = of.tokenizer.convert_tokens_to_ids(ENDS.get(family, "</s>")), of.tokenizer.eos_token_id
    assert of.ends == tuple(dict.fromkeys([end, eos])) and of.eos == end
    assert of.response(ANSWER) == [*of.whole([ANSWER])[0][:-1], end] and end not in of.whole([ANSWER])[0][:-1]
    chunk = encoded(of, [Row(prompt="how", responses=(ANSWER * 20,))])
    assert chunk.ids[-1] == end and chunk.sizes[0, 1] == of.max_response


@pytest.mark.parametrize("family", ["chatml", "llama3", "gemma", "mora"])
def test_prompt_and_answer_are_what_the_template_writes_of_both(family):
    tokenizer = fast("bytes", family)
    of = encoder(tokenizer)
    turns = [{"role": "user", "content": "how do cats run"}, {"role": "assistant", "content": ANSWER}]
    stock = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)["input_ids"]
    ours = of.prompt("how do cats run") + of.response(ANSWER)
    assert stock[: len(ours)] == ours and not tokenizer.decode(stock[len(ours) :]).strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer that marks turns by text and the end token; beside it a token <|stop|> that is not special."""
    tokenizer = fast("bytes", "zephyr")
    tokenizer.add_tokens(["<|stop|>"])
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def state(folder: Path, ends, name: str = "generation_config.json") -> None:
    (folder / name).write_text(json.dumps({"eos_token_id": ends, "model_type": "llama"}))


def number(tokenizer, token: str) -> int:
    return tokenizer.convert_tokens_to_ids(token)


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
@pytest.mark.parametrize("one", [True, False])
def test_what_the_configuration_names_ends_answers_too(folder, tmp_path, name, one):
    stop = number(AutoTokenizer.from_pretrained(folder), "<|stop|>")
    state(folder, stop if one else [1, stop], name)
    of = encoder(load_tokenizer(folder))
    assert of.ends == (of.tokenizer.eos_token_id, stop)
    assert stop in of.safe.control.values() and stop not in of.whole(["say <|stop|> now"])[0]
    of.tokenizer.save_pretrained(tmp_path / "policy")  # where no configuration of a model lies
    again = load_tokenizer(tmp_path / "policy")
    assert encoder(again).ends == of.ends and encoder(again).response(ANSWER) == of.response(ANSWER)


def test_one_end_token_leaves_a_stored_tokenizer_as_it_was(folder):
    before = json.loads((folder / "tokenizer_config.json").read_text())
    state(folder, AutoTokenizer.from_pretrained(folder).eos_token_id)
    tokenizer = load_tokenizer(folder)
    assert KEY not in tokenizer.init_kwargs and KEY not in before and len(encoder(tokenizer).ends) == 1


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([1, 10**6], "eos_token_id names 1000000, a token that its tokenizer lacks"),
        ("</s>", "generation_config.json: eos_token_id: is '</s>', and must be the id of a token"),
        ([1, -3], r"eos_token_id: is \[1, -3\]"),
        (30, "eos_token_id names 30, '.', a word of texts"),
    ],
    ids=str,
)
def test_an_end_that_is_no_token_of_its_own_is_refused(folder, ends, message):
    state(folder, ends)
    with pytest.raises(InputError, match=message):
        encoder(load_tokenizer(folder))


@pytest.mark.parametrize("refuses", ["messages | length == 1 or not add_generation_prompt", "messages | length < 3"])
def test_a_template_may_refuse_what_is_only_asked_to_see_its_end(refuses):
    tokenizer = fast("bytes", "chatml")
    refusal = "{% if not (REFUSES) %}{{ raise_exception('no') }}{% endif %}".replace("REFUSES", refuses)
    tokenizer.chat_template = refusal + tokenizer.chat_template
    assert tokenizer.convert_ids_to_tokens(encoder(tokenizer).eos) == "<|im_end|>"


def test_a_template_that_ends_turns_with_words_is_refused():
    tokenizer = fast("bytes", "zephyr")
    tokenizer.chat_template = FAMILIES["chatml"][0]  # whose tokens it lacks
    with pytest.raises(InputError, match=r"ends an assistant's turn with '<\|im_end\|>', which is no token.*chat_temp"):
        encoder(tokenizer)


@pytest.fixture
def of(folder) -> Encoder:
    tokenizer = load_tokenizer(folder)
    name_ends(tokenizer, [number(tokenizer, "<|stop|>")])
    return encoder(tokenizer)


def test_a_rollout_ends_with_any_end_and_none_is_read_as_text(of):
    eos, stop = of.ends
    a, b = of.whole(["they run"])[0][:2]
    tokens = torch.tensor([[a, stop, b, eos], [a, b, eos, stop], [stop, a, b, a], [a, b, a, b]])
    mask = response_mask(tokens, of.ends)
    assert mask.sum(-1).tolist() == [2, 3, 1, 4]
    texts, sampled = decode(tokens, mask, of)
    assert sampled.ended == (True, True, True, False)
    assert texts == of.tokenizer.batch_decode([[a], [a, b], [], [a, b, a, b]])


@pytest.mark.parametrize("longest", [40, 2])
def test_a_reward_model_reads_one_end_whichever_it_was(of, longest):
    reader = encoder(of.tokenizer, longest)
    (ids,) = of.whole([ANSWER])
    read = []
    for end in of.ends:
        sampled = Sampled(ended=(True,), tokens=((*ids[:-1], end),), vocabulary=of.vocabulary)
        batch = scored(["how"], [ANSWER], reader, sampled)
        read.append(batch.ids[0][batch.response[0]].tolist())
    assert read[0] == read[1] == reader.scored(ANSWER)
    (answer,) = Texts(of.tokenizer, "answer", 200, "model").answers([ANSWER], sampled)
    assert Texts(of.tokenizer, "answer", 200, "model")("how", *answer)[0] == of.prompt("how") + ids


def test_what_a_run_stored_ends_as_it_did(folder, tmp_path):
    """Weights without an LM head are stored without generation_config.json; their config.json may name any token."""
    tokenizer = load_tokenizer(folder)
    state(folder, number(tokenizer, "<|stop|>"))
    ends = encoder(load_tokenizer(folder)).ends
    load_tokenizer(folder).save_pretrained(tmp_path / "stored")
    state(tmp_path / "stored", 5, "config.json")
    assert len(ends) == 2 and encoder(load_tokenizer(tmp_path / "stored", stored=True)).ends == ends


@pytest.mark.parametrize("family", ENDS)
def test_the_form_of_moras_own_models_ends_as_they_do(family):
    of = encoder(fast("bytes", family))
    texts = Texts(of.tokenizer, "answer", 200, "model")
    assert texts("how", ANSWER)[0] == of.prompt("how") + of.response(ANSWER)
    assert texts("how", ANSWER, False)[0] == of.prompt("how") + of.response(ANSWER)[:-1]


@pytest.mark.parametrize("stored", ["x", [1.5], [True], {"a": 1}], ids=str)
def test_ends_in_a_tokenizer_of_others_are_tokens(folder, stored):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {KEY: stored}))
    with pytest.raises(InputError, match=f"{KEY} of tokenizer_config.json: is .*, and must be the id of a token"):
        load_tokenizer(folder)
