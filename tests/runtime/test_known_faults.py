"""Faults of tests/mutation that nothing else would notice."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mora.dataset.encode import Encoder
from mora.runtime.sampling import decode, sample_rows
from mora.types import Row

CPU = torch.device("cpu")
VOCABULARY = {word: number for number, word in enumerate(["<eos>", "<pad>", "<unk>", "a", "b", "c", "d"])}


@pytest.fixture
def encoder() -> Encoder:
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return Encoder(tokenizer, 4, 4, "error")


def test_every_sample_has_an_identity_of_its_own_on_whatever_process(encoder):
    """Draws are keyed by it: all samples differ, and a process draws what one process would draw there."""
    rows = [Row(prompt=prompt) for prompt in ("a", "b c", "d")]
    whole, groups = sample_rows(rows, 5, encoder, CPU)
    assert len(whole.row_ids.unique()) == 15
    assert len(groups.unique()) == 3
    assert torch.equal(groups.view(3, 5), groups.view(3, 5)[:, :1].expand(-1, 5))
    for keep in (range(0, 4), range(4, 8), range(8, 15)):  # borders in the middle of a prompt's samples
        part, own = sample_rows(rows, 5, encoder, CPU, keep)
        assert torch.equal(part.row_ids, whole.row_ids[list(keep)]) and torch.equal(own, groups[list(keep)])
        assert part.texts == [whole.texts[i] for i in keep]
    repeated, own = sample_rows([rows[0], rows[0]], 5, encoder, CPU)
    assert len(repeated.row_ids.unique()) == 10 and len(own.unique()) == 2
    reordered, _ = sample_rows(rows[::-1], 5, encoder, CPU)
    assert torch.equal(reordered.row_ids.view(3, 5).flip(0), whole.row_ids.view(3, 5))


def test_a_text_ends_with_its_answer(encoder):
    """Neither what stands after the end, nor the end token itself, is scored as text."""
    a, b, c, end = VOCABULARY["a"], VOCABULARY["b"], VOCABULARY["c"], VOCABULARY["<eos>"]
    tokens = torch.tensor([[a, b, end, c], [c, end, a, b], [a, b, c, a]])
    mask = torch.tensor([[True, True, True, False], [True, True, False, False], [True] * 4])
    assert decode(tokens, mask, encoder)[0] == ["a b", "c", "a b c a"]
