from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora.dataset import encode
from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.turns import joined, without_oldest
from mora.types import Row

KINDS = ("bytes", "words")
LONG = " ".join(f"{word}" for word in ["how", "do", "ostriches", "run", "away", "from", "danger"] * 30)


@pytest.fixture(scope="module")
def encoder(make_tokenizer):
    tokenizer = make_tokenizer("bytes")
    return Encoder(tokenizer, 40, 12, "cut_answer")


def _text(encoder, ids):
    return encoder.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_one_user_turn_up_to_where_the_answer_starts(make_tokenizer, kind):
    encoder = Encoder(make_tokenizer(kind), 60, 12, "error")
    ids = encoder.prompt("how do ostriches run ?")
    turns = [{"role": "user", "content": "how do ostriches run ?"}]
    own = encoder.tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert ids == own and isinstance(ids, list)
    words = _text(encoder, ids).replace("<s>", "<s> ").split()
    assert words == "<s> user : how do ostriches run ? assistant :".split()


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_token_is_not_doubled(make_tokenizer, kind):
    # This tokenizer puts <s> before every text, and the template starts with it too.
    encoder = Encoder(make_tokenizer(kind), 60, 60, "error")
    start = encoder.tokenizer.bos_token_id
    assert encoder.tokenizer("run")["input_ids"][0] == start
    assert encoder.prompt("run").count(start) == 1
    assert start not in encoder.response("run")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pad", ["own", "eos", "none"])
def test_an_answer_ends_with_exactly_one_end_token(make_tokenizer, kind, pad):
    encoder = Encoder(make_tokenizer(kind, pad), 60, 60, "error")
    ids = encoder.response("they run very fast .")
    assert ids.count(encoder.eos) == 1 and ids[-1] == encoder.eos == encoder.tokenizer.eos_token_id
    size = len(encoder.tokenizer)
    assert encoder.pad == (encoder.tokenizer.convert_tokens_to_ids("<pad>") if pad == "own" else encoder.eos)
    assert len(encoder.tokenizer) == size  # no token is added


def test_an_end_token_written_in_an_answer_is_text(encoder):
    ids = encoder.response("a</s>b</s>")
    assert ids.count(encoder.eos) == 1 and ids[-1] == encoder.eos
    assert _text(encoder, ids[:-1]) == "a</s>b</s>"


@pytest.mark.parametrize("kind", KINDS)
def test_p8_a_prompt_cut_on_the_right_loses_where_the_answer_starts(make_tokenizer, kind):
    encoder = Encoder(make_tokenizer(kind), 40, 12, "error")
    ids = encoder.prompt(LONG + " at the end")
    words = _text(encoder, ids).replace("<s>", "<s> ").split()
    assert len(ids) <= 40
    assert words[:3] == ["<s>", "user", ":"] and words[-2:] == ["assistant", ":"]
    if kind == "bytes":
        assert words[-5:-2] == ["at", "the", "end"]
        content = _text(encoder, ids)[len("<s>user : ") : -len("\nassistant : ")]
        assert (" " + LONG + " at the end").endswith(" " + content)  # it starts with a word
    assert encoder.counts["prompts_cut"] == 1
    assert encoder.notes() == ["1 of 1 prompts cut from the left to dataset.max_prompt=40 tokens"]


def test_p8_a_long_answer_cut_on_the_right_loses_its_end_token(encoder):
    ids = encoder.response(LONG)
    assert len(ids) == 12 and ids[-1] == encoder.eos
    assert ids[:-1] == encoder.tokenizer(LONG, add_special_tokens=False)["input_ids"][:11]


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80), limit=st.integers(30, 60))
def test_whatever_the_text_a_prompt_keeps_its_template_and_fits(make_tokenizer, text, limit):
    encoder = Encoder(make_tokenizer("bytes"), limit, 12, "error")
    decoded = _text(encoder, encoder.prompt(text))
    head, tail = "<s>user : ", "\nassistant : "
    assert len(encoder.prompt(text)) <= limit
    assert decoded.startswith(head) and decoded.endswith(tail)
    assert text.endswith(decoded[len(head) : -len(tail)])


def test_nothing_is_cut_that_fits(make_tokenizer):
    tokenizer = make_tokenizer("bytes")
    length = len(Encoder(tokenizer, 10**6, 12, "error").prompt(LONG))
    exact, shorter = Encoder(tokenizer, length, 12, "error"), Encoder(tokenizer, length - 1, 12, "error")
    assert len(exact.prompt(LONG)) == length and exact.counts["prompts_cut"] == 0
    # one token less: the cut moves on to the next word, "how " of 4 characters at most
    assert length - 5 <= len(shorter.prompt(LONG)) < length


def test_a_template_that_does_not_fit_is_told(make_tokenizer):
    encoder = Encoder(make_tokenizer("bytes"), 3, 12, "error")
    with pytest.raises(InputError, match=r"dataset.max_prompt=3: one character in the chat template takes \d+ tokens"):
        encoder.prompt("how do they run")


def test_an_answer_that_fits_exactly_is_whole(make_tokenizer):
    tokenizer = make_tokenizer("words")
    # 5 words and the end token
    assert len(Encoder(tokenizer, 60, 6, "error").response("they run very fast .")) == 6
    with pytest.raises(InputError, match="an answer has 6 tokens.*dataset.max_response=5: raise it, or set"):
        Encoder(tokenizer, 60, 5, "error").response("they run very fast .")
    assert Encoder(tokenizer, 60, 5, "error").scored("they run very fast .")[-1] == tokenizer.eos_token_id


ROWS = [
    Row(prompt="how", responses=("they run", "run"), where="a.jsonl:1"),
    Row(prompt="how", responses=("run", "they run very fast ."), where="a.jsonl:2"),
]


def test_overlong_rows_are_dropped_refused_or_cut_and_counted(make_tokenizer):
    tokenizer = make_tokenizer("words")
    drop = Encoder(tokenizer, 60, 4, "drop")
    assert drop.admit(ROWS) == ROWS[:1]
    assert drop.notes() == ["1 rows left out: an answer is longer than dataset.max_response=4 tokens"]
    with pytest.raises(InputError, match="1 of 1 rows have an answer that is too long"):
        drop.admit(ROWS[1:])  # none would be left
    with pytest.raises(InputError, match=r"1 of 2 rows .*\n  a.jsonl:2: 6 tokens\n.*overlong=cut_answer or drop"):
        Encoder(tokenizer, 60, 4, "error").admit(ROWS)
    cut = Encoder(tokenizer, 60, 4, "cut_answer")
    assert cut.admit(ROWS) == ROWS
    for row in ROWS * 2:
        for text in row.responses:
            cut.response(text)
    # distinct answers: "they run", "run", and the long one
    assert cut.notes() == ["1 of 3 answers cut to dataset.max_response=4 tokens, end token kept"]


def test_a_text_is_tokenized_once(make_tokenizer, monkeypatch):
    encoder = Encoder(make_tokenizer("words"), 60, 12, "error")
    first = encoder.prompt("how"), encoder.response("they run")
    first[1].append(7)  # what is handed out is the caller's own
    monkeypatch.setattr(encoder, "tokenizer", None)
    assert (encoder.prompt("how"), [*encoder.response("they run"), 7]) == first


def test_what_is_remembered_is_bounded(make_tokenizer, monkeypatch):
    monkeypatch.setattr(encode, "REMEMBERED", 3 * 450)
    encoder = Encoder(make_tokenizer("words"), 60, 12, "error")
    texts = ["how", "do they", "run away", "fast", "very fast"]
    expected = {text: encoder.prompt(text) for text in texts}
    assert list(encoder._prompts._known) == texts[2:] and encoder._prompts._held <= 3 * 450
    assert encoder.prompt("run away") == expected["run away"]  # asked for again: now the last to be forgotten
    encoder.prompt("how")
    assert list(encoder._prompts._known) == ["very fast", "run away", "how"]
    assert {text: encoder.prompt(text) for text in texts} == expected
    encoder.prompt("how " * 2000)  # larger than all that may be held: remembered alone
    assert len(encoder._prompts._known) == 1


TURNS = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }}\n{% endfor %}assistant : "
SPOKEN = [("user", "how do"), ("assistant", "they run"), ("user", "run away"), ("assistant", "fast")]
SPOKEN += [("user", "from danger they run very fast")]


def _conversation(*said: tuple[str, str]) -> str:
    return joined([{"role": role, "content": content} for role, content in said])


def _read(make_tokenizer, limit: int, *said: tuple[str, str]) -> tuple[str, int]:
    """What is left of a prompt, and how many were cut."""
    encoder = Encoder(make_tokenizer("bytes", template=TURNS), limit, 12, "error")
    ids = encoder.prompt(_conversation(*said))
    assert len(ids) <= limit
    return " ".join(_text(encoder, ids).split()), encoder.counts["prompts_cut"]


def _tokens(make_tokenizer, *said: tuple[str, str]) -> int:
    return len(Encoder(make_tokenizer("bytes", template=TURNS), 10**6, 12, "error").prompt(_conversation(*said)))


def test_a_prompt_of_several_turns_is_a_conversation_in_the_template(make_tokenizer):
    for said in (SPOKEN, [("system", "run !"), *SPOKEN], SPOKEN[:1]):
        whole = " ".join(f"{role} : {content}" for role, content in said) + " assistant :"
        assert _read(make_tokenizer, 400, *said) == (whole, 0)


@pytest.mark.parametrize("system", [[], [("system", "run !")]])
def test_a_long_conversation_loses_its_oldest_exchanges_then_the_beginning_of_its_last_turn(make_tokenizer, system):
    for first in (2, 4):  # as long as what is left, or a token shorter than what would be
        whole = " ".join(f"{role} : {content}" for role, content in system + SPOKEN[first:]) + " assistant :"
        fitting = _tokens(make_tokenizer, *system, *SPOKEN[first:])
        longer = _tokens(make_tokenizer, *system, *SPOKEN[first - 2 :])
        for limit in (fitting, longer - 1):
            assert _read(make_tokenizer, limit, *system, *SPOKEN) == (whole, 1)
    words = make_tokenizer("words", template=TURNS)
    expected = Encoder(words, 60, 12, "error").prompt(_conversation(*system, ("user", "run very fast")))
    for said in (SPOKEN, SPOKEN[-1:]):
        encoder = Encoder(words, len(expected), 12, "error")
        assert encoder.prompt(_conversation(*system, *said)) == expected and encoder.counts["prompts_cut"] == 1


def test_a_system_message_that_leaves_no_room_is_told(make_tokenizer):
    said = [("system", "run away " * 20), ("user", "how")]
    with pytest.raises(InputError, match=r"max_prompt=40: one character .* takes \d+ tokens beside the system message"):
        _read(make_tokenizer, 40, *said)


def test_a_template_that_takes_no_such_turns_is_told(make_tokenizer):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TURNS
    encoder = Encoder(make_tokenizer("bytes", template=template), 60, 12, "error")
    assert encoder.prompt(_conversation(*SPOKEN[:3]))
    with pytest.raises(InputError, match="the chat template fails on the turns system, user: no system; name another"):
        encoder.prompt(_conversation(("system", "run"), ("user", "how")))
    with pytest.raises(InputError, match="the chat template fails on the turns system, user"):
        encoder.chat.many(["how", _conversation(("system", "run"), ("user", "how"))])


def test_without_oldest_drops_whole_exchanges():
    turns = [{"role": role, "content": content} for role, content in SPOKEN]
    system = {"role": "system", "content": "run"}
    assert list(without_oldest(turns)) == [turns[2:], turns[4:]] and list(without_oldest(turns[4:])) == []
    assert list(without_oldest([system, *turns])) == [[system, *turns[2:]], [system, *turns[4:]]]


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30), max_size=6))
def test_many_texts_at_once_are_encoded_as_one_by_one(make_tokenizer, texts):
    encoder = Encoder(make_tokenizer("bytes"), 30, 12, "error")
    prompts = [*texts, *(_conversation(("user", t), ("assistant", t), ("user", t)) for t in texts if t.strip())]
    assert encoder.chat.many(prompts) == [encoder.chat(prompt) for prompt in prompts]
    assert encoder.whole(texts) == [ids for text in texts for ids in encoder.whole([text])]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"overlong": "cut"}, "dataset.overlong=cut: must be one of cut_answer, drop, error"),
        ({"max_response": 1}, "dataset.max_response=1: must be at least"),
        ({"template": None}, "no chat template; name one to copy: model.chat_template="),
        ({"template": "{{ raise_exception('system turn first') }}"}, "fails on a single user turn: system turn first"),
        ({"eos": None}, "has no end token"),
    ],
)
def test_what_cannot_encode_is_told(make_tokenizer, keys, message):
    tokenizer = make_tokenizer("bytes", **({"template": keys["template"]} if "template" in keys else {}))
    if "eos" in keys:
        tokenizer.eos_token = None
    with pytest.raises(InputError, match=message):
        Encoder(tokenizer, 40, keys.get("max_response", 12), keys.get("overlong", "error")).prompt("how")
