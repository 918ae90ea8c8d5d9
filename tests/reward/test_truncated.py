"""What a scorer reads of an answer that was cut off before its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.reward.test_hub import TEXT, decoder_tokenizer, encoder_tokenizer

from mora.dataset.collate import scored
from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.model.tokenizer import train_words
from mora.reward.scalar import Scalar
from mora.reward.scorer import GoldScorer, ModelScorer
from mora.reward.scoring import cut_texts, read_answers, score_answers
from mora.reward.standardization import Standardization
from mora.reward.texts import Texts
from mora.runtime.sampling import decode
from mora.types import Sampled

MakeScorer = Callable[..., ModelScorer]
SCALAR = Scalar(strength="ignore", margin=0.0, centering=0.01, l2=0.0)
UNITS = Standardization(mean=torch.zeros(2), std=torch.ones(2), provenance={})
WORDS = "abcdefghij"


def encoder(words: str = WORDS, longest: int = 12) -> Encoder:
    return Encoder(train_words([" ".join(words)], closed=False), 16, longest, "cut_answer")


def read(of: Encoder, text: str, sampled: Sampled | None) -> list[int]:
    batch = scored(["a"], [text], of, sampled)
    return batch.ids[0][batch.response[0]].tolist()


def test_an_answer_ends_where_it_ended() -> None:
    one = encoder()
    words = one.whole(["b c d"])[0][:-1]
    assert read(one, "b c d", None) == [*words, one.eos]
    assert read(one, "b c d", Sampled(ended=(True,))) == [*words, one.eos]
    assert read(one, "b c d", Sampled(ended=(False,))) == words


def test_tokens_are_read_as_sampled_by_whoever_has_their_vocabulary() -> None:
    """The text of such tokens would be tokenized without the second one, which is special."""
    policy, same, other = encoder(), encoder(), encoder("jihgfedcba" + "xyz")
    b, c = policy.whole(["b c"])[0][:-1]
    pad = policy.pad
    assert policy.vocabulary == same.vocabulary != other.vocabulary and policy.tokenizer is not same.tokenizer
    for tokens, ended in (((b, pad, c, policy.eos), True), ((b, pad, c), False)):
        sampled = Sampled(ended=(ended,), tokens=(tokens,), vocabulary=policy.vocabulary)
        assert read(same, "b c", sampled) == [*tokens]
        assert read(other, "b c", sampled) == other.scored("b c", ended=ended)
    assert encoder().tokenizer.add_tokens(["new"]) == 1


def test_a_vocabulary_is_its_content(tmp_path: Path) -> None:
    one = encoder()
    one.tokenizer.save_pretrained(tmp_path)
    from transformers import AutoTokenizer

    stored = AutoTokenizer.from_pretrained(tmp_path)
    stored.chat_template = one.tokenizer.chat_template + " "
    assert Encoder(stored, 3, 5, "error").vocabulary == one.vocabulary
    stored.add_tokens(["zz"])
    assert Encoder(stored, 3, 5, "error").vocabulary != one.vocabulary
    other = encoder()
    other.tokenizer.eos_token = "a"
    assert Encoder(other.tokenizer, 3, 5, "error").vocabulary != one.vocabulary


def test_with_equal_limits_no_token_is_dropped_and_with_a_lower_one_the_end_stays() -> None:
    policy, shorter = encoder(longest=4), encoder(longest=3)
    a, b, c, d = policy.whole(["a b c d"])[0][:-1]
    cut = Sampled(ended=(False,), tokens=((a, b, c, d),), vocabulary=policy.vocabulary)
    ended = Sampled(ended=(True,), tokens=((a, b, c, policy.eos),), vocabulary=policy.vocabulary)
    for known in (cut, Sampled(ended=(False,))):
        assert read(policy, "a b c d", known) == [a, b, c, d]
        assert read(shorter, "a b c d", known) == [a, b, c]
    for known in (ended, Sampled(ended=(True,))):
        assert read(policy, "a b c", known) == [a, b, c, policy.eos]
        assert read(shorter, "a b c", known) == [a, b, policy.eos]


def test_a_scorer_scores_what_was_sampled_in_its_place(
    make_scorer: MakeScorer, texts: tuple[list[str], list[str]]
) -> None:
    """Rows are sorted by length to be scored, and what is known of them with them."""
    scorer = make_scorer(SCALAR)
    prompts, responses = texts
    whole = scorer.encoder.whole(responses)
    rows, ended = len(responses), tuple(i % 3 > 0 for i in range(len(responses)))
    ids = torch.full((rows, 10), scorer.encoder.pad)
    mask = torch.zeros(rows, 10, dtype=torch.bool)
    for row, one in enumerate(whole):
        kept = one if ended[row] else one[:-1]
        ids[row, : len(kept)], mask[row, : len(kept)] = torch.tensor(kept), True
    said, sampled = decode(ids, mask, scorer.encoder)
    assert said == responses and sampled.ended == ended
    found = scorer.raw(prompts, responses, sampled).atoms
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        alone = scorer.raw([prompt], [response], Sampled(ended=(ended[row],))).atoms[0]
        torch.testing.assert_close(found[row], alone, atol=1e-4, rtol=1e-4)
    plain = scorer.raw(prompts, responses).atoms
    apart = (found - plain).abs().amax((1, 2))
    assert all((float(gap) < 1e-4) == one for gap, one in zip(apart, ended, strict=True))


def test_a_world_is_told_what_ended(world: Any) -> None:
    heard: list[Any] = []

    class Listening(type(world)):  # type: ignore[misc]
        def gold(self, prompts: Any, responses: Any, ended: Any = None) -> Any:
            heard.append(ended)
            return super().gold(prompts, responses)

    scorer = GoldScorer(Listening(), UNITS).select(["many_b"])
    scorer.score(["c"] * 2, ["a b", "b"], Sampled(ended=(True, False)))
    scorer.standardize(["c"] * 2, ["a b", "a"], {}, sampled=Sampled(ended=(False, True)))
    scorer.raw(["c"], ["a"])
    assert heard == [(True, False), (False, True), None]


@pytest.mark.parametrize(
    ("chat", "whole", "cut"),
    [
        ("template", "<bos> a b <answer> c d <eos>", "<bos> a b <answer> c d"),
        ("answer", "<bos> a b <answer> c d <eos>", "<bos> a b <answer> c d"),
        (TEXT, "user : a b answer : c d <eos>", "user : a b answer : c d"),
        ("{response} {eos} {prompt}", "c d <eos> a b", "c d a b"),
    ],
)
def test_nothing_stands_behind_an_answer_that_was_cut_off(chat: str, whole: str, cut: str) -> None:
    tokenizer = decoder_tokenizer()
    texts = Texts(tokenizer, chat, 60, "model")
    assert tokenizer.decode(texts("a b", "c d")[0]) == whole
    assert tokenizer.decode(texts("a b", "c d", False)[0]) == cut
    (answer,) = texts.answers(["c d"], Sampled(ended=(False,)))
    assert texts("a b", *answer) == texts("a b", "c d", False)
    short = Texts(tokenizer, chat, len(tokenizer.encode(cut, add_special_tokens=False)) - 1, "model")
    assert tokenizer.eos_token_id not in short("a b", "c d", False)[0] and short.counts["prompts_cut"] == 1


def test_a_tokenizer_that_ends_every_text_does_not_end_one_that_was_cut_off() -> None:
    from tokenizers import processors

    tokenizer = decoder_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    texts = Texts(tokenizer, "{prompt} {response}", 60, "model")
    assert tokenizer.decode(texts("a", "b")[0]) == "a b <eos>" and tokenizer.decode(texts("a", "b", False)[0]) == "a b"


def test_sampled_tokens_are_read_as_they_are_in_the_form_of_moras_own_models() -> None:
    tokenizer = decoder_tokenizer()
    texts = Texts(tokenizer, "answer", 60, "model")
    of = Encoder(tokenizer, 60, 60, "error")
    c, bos = tokenizer.convert_tokens_to_ids("c"), tokenizer.bos_token_id
    (answer,) = texts.answers(["c"], Sampled(ended=(False,), tokens=((c, bos, c),), vocabulary=of.vocabulary))
    assert texts("a", *answer)[0][-3:] == [c, bos, c]
    (other,) = texts.answers(["c"], Sampled(ended=(False,), tokens=((c, bos, c),), vocabulary="another"))
    assert other.tokens is None and texts("a", *other)[0][-1:] == [c]


def test_a_pair_has_no_end_and_a_template_that_hides_answers_is_told() -> None:
    pair = Texts(encoder_tokenizer(types=True), "pair", 60, "model")
    assert pair("a", "b", False) == pair("a", "b")
    tokenizer = decoder_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content[:1] }}{% endfor %}"
    with pytest.raises(InputError, match=r"chat template does not write answers as they are.*reward\.chat"):
        Texts(tokenizer, "template", 60, "model")("a", "b c", False)


def test_a_file_says_which_answers_ended(make_scorer: MakeScorer, tmp_path: Path) -> None:
    scorer = make_scorer(SCALAR)
    scorer.standardization = UNITS
    given = [
        {"prompt": "a", "response": "b c", "ended": False},
        {"prompt": "a", "response": "b c"},
        {"prompt": "a", "response_0": "b c", "response_1": "b c", "ended_1": False},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, given)))
    rows = read_answers(path)
    found = score_answers(scorer, rows)
    values = [found[0]["scores"], found[1]["scores"], found[2]["scores_0"], found[2]["scores_1"]]
    cut, whole, first, second = (value["many_a"]["mean"] for value in values)
    assert cut == pytest.approx(second, abs=1e-5) and whole == pytest.approx(first, abs=1e-5)
    assert abs(cut - whole) > 1e-3
    assert cut_texts(scorer, rows) == ["2 of 4 answers did not end, and were scored without an end token"]
    path.write_text(json.dumps(given[0] | {"ended": "no"}))
    with pytest.raises(InputError, match=r"in\.jsonl:1: ended .*true or false"):
        read_answers(path)
