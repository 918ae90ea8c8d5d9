from __future__ import annotations

from functools import partial
from itertools import product

import pytest
from transformers import AutoTokenizer

from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.model.load import load_tokenizer
from mora.model.tokenizer import ANSWER, copy_chat_template, train_bpe, train_words

TEXTS = ["spray the slugs on my rose", "feed the cat and water the rose , then rest"]
ODD = "Ünïcödé “quotes” — tabs\t newlines\n\n and  spaces 😀 <eos> {{ braces }}"


def _ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_word_is_a_token_and_an_unknown_one_is_unk():
    tokenizer = train_words(TEXTS, closed=False)
    words = {word for text in TEXTS for word in text.split()}
    assert len(tokenizer) == len(words) + 5  # bos, eos, pad, unk and the mark of the answer
    assert tokenizer.decode(_ids(tokenizer, TEXTS[1])) == TEXTS[1]
    assert len(_ids(tokenizer, TEXTS[0])) == 6
    assert _ids(tokenizer, "spray the moon")[2] == tokenizer.unk_token_id


def test_the_special_tokens_are_five_different_ones():
    tokenizer = train_words(TEXTS, closed=False)
    ids = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id]
    assert len({*ids, tokenizer.convert_tokens_to_ids(ANSWER)}) == 5


@pytest.mark.parametrize("text", [*TEXTS, ODD, "", " leading and trailing "])
def test_byte_level_text_round_trips(text):
    tokenizer = train_bpe(TEXTS, 300)
    assert len(tokenizer) <= 300
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize(
    "train", [partial(train_words, closed=False), lambda texts: train_bpe(texts, 300)], ids=["words", "bpe"]
)
def test_the_template_puts_the_mark_of_the_answer_after_the_prompt(train):
    tokenizer = train(TEXTS)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": TEXTS[0]}], add_generation_prompt=True, return_dict=False
    )
    assert chat[0] == tokenizer.bos_token_id and chat[-1] == tokenizer.convert_tokens_to_ids(ANSWER)
    assert chat[1:-1] == _ids(tokenizer, TEXTS[0])


def test_a_whole_conversation_ends_with_the_end_token():
    tokenizer = train_words(TEXTS, closed=False)
    turns = [{"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": "water the rose"}]
    chat = tokenizer.apply_chat_template(turns, return_dict=False)
    encoder = Encoder(tokenizer, 20, 20, "error")
    assert chat == encoder.prompt(TEXTS[0]) + encoder.response("water the rose")
    assert chat[-1] == tokenizer.eos_token_id


def test_saving_and_loading_keeps_ids_and_template(tmp_path):
    tokenizer = train_words(TEXTS, closed=False)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.chat_template == tokenizer.chat_template
    assert _ids(again, TEXTS[1]) == _ids(tokenizer, TEXTS[1])
    stock = AutoTokenizer.from_pretrained(tmp_path)
    assert (stock.pad_token_id, stock.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert stock.padding_side == "left"


def test_the_same_texts_give_the_same_tokenizer():
    one, two = train_words(TEXTS, closed=False), train_words(TEXTS, closed=False)
    assert one.get_vocab() == two.get_vocab()


def test_a_template_is_copied_from_a_file_or_another_tokenizer(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ bos_token }}hello")
    tokenizer = train_words(TEXTS, closed=False)
    copy_chat_template(tokenizer, str(tmp_path / "t.jinja"))
    assert tokenizer.chat_template == "{{ bos_token }}hello"
    train_words(TEXTS, closed=False).save_pretrained(tmp_path / "other")
    copy_chat_template(tokenizer, str(tmp_path / "other"))
    assert tokenizer.chat_template == train_words(TEXTS, closed=False).chat_template


def test_a_source_without_template_is_refused(tmp_path):
    tokenizer = train_words(TEXTS, closed=False)
    with pytest.raises(InputError, match="cannot be read"):
        copy_chat_template(tokenizer, str(tmp_path / "no.jinja"))
    with pytest.raises(InputError, match="no tokenizer can be loaded"):
        copy_chat_template(tokenizer, str(tmp_path))
    plain = train_words(TEXTS, closed=False)
    plain.chat_template = None
    plain.save_pretrained(tmp_path / "plain")
    with pytest.raises(InputError, match="has no chat template"):
        copy_chat_template(tokenizer, str(tmp_path / "plain"))


def test_a_template_with_tokens_that_the_tokenizer_lacks_is_refused(tmp_path):
    other = train_words(TEXTS, closed=False)
    other.add_special_tokens({"eos_token": "<|end of turn|>"})
    other.chat_template = "{{ messages[0]['content'] }}<|end of turn|>"
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="end of turn.*does not know"):
        copy_chat_template(train_words(TEXTS, closed=False), str(tmp_path / "other"))


# --- a closed vocabulary ---------------------------------------------------------------------------------------------


@pytest.fixture
def closed():
    return train_words(TEXTS, closed=True)


def test_a_closed_vocabulary_is_its_words_and_the_end_which_pads(closed):
    words = {word for text in TEXTS for word in text.split()}
    assert set(closed.get_vocab()) == words | {closed.eos_token}
    assert len(closed) == closed.vocab_size == len(words) + 1
    assert sorted(closed.get_vocab().values()) == list(range(len(closed)))
    assert closed.pad_token_id == closed.eos_token_id is not None
    assert closed.all_special_tokens == [closed.eos_token]
    assert closed.bos_token_id is closed.unk_token_id is None


def test_every_sequence_of_words_is_a_text_of_its_own(closed):
    content = [i for i in range(len(closed)) if i != closed.eos_token_id]
    sequences = [list(s) for length in range(3) for s in product(content, repeat=length)]
    sequences += [content[::-1], content * 2, [content[0]] * 20]
    texts = closed.batch_decode(sequences, skip_special_tokens=True)
    assert [_ids(closed, text) for text in texts] == sequences
    assert len(set(texts)) == len(sequences)
    ended = closed.batch_decode(
        [[*s, closed.eos_token_id, closed.pad_token_id] for s in sequences], skip_special_tokens=True
    )
    assert ended == texts


@pytest.mark.parametrize("text", ["moon", "spray the moon", "Spray", "rose,"])
def test_a_word_outside_a_closed_vocabulary_cannot_be_encoded(closed, text):
    with pytest.raises(Exception, match="UNK"):
        _ids(closed, text)


def test_the_template_of_a_closed_vocabulary_adds_nothing(closed):
    encoder = Encoder(closed, 20, 20, "error")
    for text in TEXTS:
        assert encoder.prompt(text) == _ids(closed, text)
        assert encoder.response(text) == [*_ids(closed, text), closed.eos_token_id]
    assert encoder.response("") == [closed.eos_token_id] and encoder.pad == encoder.eos


def test_saving_and_loading_keeps_a_vocabulary_closed(closed, tmp_path):
    closed.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.get_vocab() == closed.get_vocab() == train_words(TEXTS[::-1], closed=True).get_vocab()
    assert (again.pad_token_id, again.eos_token_id, len(again)) == (
        closed.pad_token_id,
        closed.eos_token_id,
        len(closed),
    )
    assert Encoder(again, 20, 20, "error").prompt(TEXTS[0]) == _ids(closed, TEXTS[0])
    with pytest.raises(Exception, match="UNK"):
        _ids(again, "moon")


@pytest.mark.parametrize("kind", ["closed", "words"])
def test_no_end_can_be_written_in_an_answer(kind):
    encoder = Encoder(train_words(TEXTS, closed=kind == "closed"), 20, 20, "error")
    try:
        ids = encoder.response("spray <eos> the")
    except InputError:
        return
    assert ids.count(encoder.eos) == 1
