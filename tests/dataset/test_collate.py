from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.types import Row

WORDS = ["how", "do", "ostriches", "run", "away", "from", "danger", "they", "very", "fast"]
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
PADS = ("own", "eos", "none")


def _encoder(make_tokenizer, pad="own", kind="words"):
    return Encoder(make_tokenizer(kind, pad), 40, 20, "cut_answer")


@pytest.mark.parametrize("kind", ["words", "bytes"])
@pytest.mark.parametrize("pad", PADS)
def test_p1_where_padding_shares_the_end_token_a_mask_made_from_ids_drops_it(make_tokenizer, pad, kind):
    encoder = _encoder(make_tokenizer, pad, kind)
    rows = [Row(prompt="how", responses=(text,)) for text in ("they run very fast", "run")]
    batch = collate.supervised(rows, encoder)
    for index, row in enumerate(rows):
        last = batch.mask[index].nonzero().max()
        assert batch.ids[index, last] == encoder.eos and batch.response[index, last]
        assert batch.mask[index].sum() == len(encoder.prompt("how")) + len(encoder.response(row.responses[0]))
        assert batch.response[index].sum() == len(encoder.response(row.responses[0]))


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=5),
    pad=st.sampled_from(PADS),
    multiple=st.sampled_from([1, 4, 8]),
)
def test_padding_never_changes_what_stands_under_the_mask(make_tokenizer, texts, pad, multiple):
    encoder = _encoder(make_tokenizer, pad)
    rows = [Row(prompt=prompt, responses=(answer,)) for prompt, answer in texts]
    batch, left = (
        collate.supervised(rows, encoder, multiple=multiple),
        collate.prompts(rows, encoder, multiple=multiple),
    )
    for index, row in enumerate(rows):
        prompt, answer = encoder.prompt(row.prompt), encoder.response(row.responses[0])
        assert batch.ids[index][batch.mask[index]].tolist() == prompt + answer
        assert batch.ids[index][batch.response[index]].tolist() == answer
        assert left.ids[index][left.mask[index]].tolist() == prompt
        assert batch.mask[index, 0] and left.mask[index, -1]  # right-padded; left-padded
        for mask in (batch.mask[index], left.mask[index]):
            assert mask.int().diff().abs().sum() <= 1  # one piece
    for ids, mask, longest in (
        (batch.ids, batch.mask, batch.mask.sum(1).max()),
        (left.ids, left.mask, left.mask.sum(1).max()),
    ):
        assert ids.shape == mask.shape and ids.shape[1] % multiple == 0 and 0 <= ids.shape[1] - longest < multiple
        assert ids.dtype == torch.int64 and mask.dtype == torch.bool
        assert (ids[~mask] == encoder.pad).all()


def test_a_batch_of_pairs_is_all_first_answers_then_all_second_ones(make_tokenizer):
    encoder = _encoder(make_tokenizer)
    rows = [
        Row(prompt="how", responses=("run", "they run away"), labels={"x": 1.0, "y": None}),
        Row(prompt="do they", responses=("very fast", "away"), labels={"x": 0.0, "y": 0.5}),
    ]
    batch = collate.pairs(rows, encoder, ("y", "x", "z"))
    expected = [encoder.prompt(row.prompt) + encoder.response(row.responses[side]) for side in (0, 1) for row in rows]
    assert [ids[mask].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)] == expected
    # columns in the order asked for; None and an objective that the row does not know are unlabelled, a tie is a label
    assert batch.judgments.labels.tolist() == [[0.0, 1.0, 0.0], [0.5, 0.0, 0.0]]
    assert batch.judgments.labelled.tolist() == [[False, True, False], [True, True, False]]
    assert batch.judgments.labels.dtype == torch.float32 and batch.judgments.labelled.dtype == torch.bool


def test_prompts_carry_their_texts_and_ids_whatever_the_batch(make_tokenizer):
    encoder = _encoder(make_tokenizer)
    rows = [Row(prompt=text) for text in ("how", "do they run", "away")]
    batch, other = collate.prompts(rows, encoder), collate.prompts(rows[::-1], encoder)
    assert batch.texts == ["how", "do they run", "away"]
    assert batch.row_ids.dtype == torch.int64 and len(set(batch.row_ids.tolist())) == 3
    assert batch.row_ids.tolist() == other.row_ids.tolist()[::-1] == [row.prompt_id for row in rows]


def test_scored_texts_are_encoded_as_the_data_is_and_cut_where_longer(make_tokenizer):
    encoder = Encoder(make_tokenizer("words"), 40, 3, "error")
    rows = [Row(prompt="how", responses=("run",)), Row(prompt="do they", responses=("run away",))]
    data = collate.supervised(rows, encoder)
    scored = collate.scored([row.prompt for row in rows], [row.responses[0] for row in rows], encoder)
    for name in ("ids", "mask", "response"):
        assert torch.equal(getattr(data, name), getattr(scored, name))
    longer = collate.scored(["how"], ["they run very fast"], encoder)
    assert longer.ids[0][longer.response[0]].tolist() == [*encoder.scored("they run")[:2], encoder.eos]
    with pytest.raises(InputError, match="an answer has 5 tokens"):
        collate.supervised([Row(prompt="how", responses=("they run very fast",))], encoder)
    with pytest.raises(ValueError, match="zip"):
        collate.scored(["how"], [], encoder)


def test_an_answer_of_no_characters_is_its_end_token(make_tokenizer):
    batch = collate.scored(["how"], [""], encoder := _encoder(make_tokenizer))
    assert batch.ids[0][batch.response[0]].tolist() == [encoder.eos]


@pytest.mark.parametrize("responses", [(), ("a",), ("a", "b", "c")])
def test_rows_of_another_kind_are_refused(make_tokenizer, responses):
    encoder = _encoder(make_tokenizer)
    row = Row(prompt="how", responses=responses, where="a.jsonl:3")
    with pytest.raises(ValueError, match=f"a.jsonl:3.* 2 responses, not {len(responses)}"):
        collate.pairs([row], encoder, ("x",))
    if len(responses) != 1:
        with pytest.raises(ValueError, match="a supervised row has 1 response"):
            collate.supervised([row], encoder)
