from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

import mora
from mora.dataset.order import batch
from mora.errors import InputError
from mora.files import read_lines
from mora.model.load import load_tokenizer
from mora.types import Row

SMALL = ("algo.epochs=null", "algo.steps=6", "algo.batch_size=8", "algo.lr=1e-2", "algo.test_rows=16")


def _nll(model, encoder, rows) -> tuple[float, int]:
    """``-sum log pi(answer token)`` and the number of answer tokens, each row alone and without padding."""
    total, tokens = 0.0, 0
    for row in rows:
        prompt, answer = encoder.prompt(row.prompt), encoder.response(row.responses[0])
        with torch.no_grad():
            logps = model(input_ids=torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
        total -= sum(float(logps[len(prompt) + n - 1, token]) for n, token in enumerate(answer))
        tokens += len(answer)
    return total, tokens


def _made(make, *options):
    algo = make("sft", *SMALL, *options)
    model, tokenizer = algo.context.starting_model(frozen=True)
    return algo, model, algo.context.encoder(tokenizer)


def test_the_loss_is_the_mean_over_answer_tokens_end_token_included(make):
    algo, model, encoder = _made(make)
    rows = algo.context.corpus.supervised["train"][:8]
    total, tokens = _nll(model, encoder, rows)
    assert tokens == sum(len(row.responses[0].split()) + 1 for row in rows)
    loss = algo.loss(model, algo._collated(rows, list(range(8)), encoder), tokens)
    assert loss.item() == pytest.approx(total / tokens, rel=1e-5)


def test_the_prompt_is_not_trained_on(make):
    """Changing the loss of prompt tokens alone is impossible to see: its gradient goes through answers only."""
    algo, model, encoder = _made(make)
    rows = algo._collated(algo.context.corpus.supervised["train"][:4], [0, 1, 2, 3], encoder)
    logits = []
    handle = model.lm_head.register_forward_hook(lambda *a: (a[2].retain_grad(), logits.append(a[2])) and None)
    algo.loss(model, rows, 10.0).backward()
    handle.remove()
    moved = logits[0].grad.abs().sum(-1) > 0
    assert torch.equal(moved[:, :-1], rows.response[:, 1:]) and not moved[:, -1].any()


def test_micro_batches_do_not_change_the_model(make):
    """Rows of different lengths: a mean of means would.  Weights after 6 updates of 1e-2 agree to 1e-4."""
    states = []
    for size in ("null", "3"):
        algo = make("sft", *SMALL, "algo.optimizer.eps=1e-5", f"runtime.micro_batch={size}")
        algo.fit()
        states.append(AutoModelForCausalLM.from_pretrained(algo.context.folder.path / "model").state_dict())
    for name, weights in states[0].items():
        assert all((weights - other[name]).abs().max() < 1e-4 for other in states[1:]), name


def test_training_lowers_the_loss_and_says_so(make):
    algo, model, encoder = _made(make, "algo.steps=20")
    test = algo.context.corpus.supervised["test"]
    before, tokens = _nll(model, encoder, test)
    summary = algo.fit()
    trained = AutoModelForCausalLM.from_pretrained(algo.context.folder.path / "model").eval()
    after, _ = _nll(trained, encoder, test)
    assert after < 0.95 * before
    assert summary["test/loss"] == pytest.approx(after / tokens, rel=1e-4)
    rows = read_lines(algo.context.folder.metrics)
    chosen = batch(0, len(algo.context.corpus.supervised["train"]), 8, 0)
    lengths = [len(algo.context.corpus.supervised["train"][i].responses[0].split()) + 1 for i in chosen]
    assert len(rows) == 20 and rows[0]["tokens"] == sum(lengths)
    assert all(math.isfinite(row["grad_norm"]) and row["lr"] >= 0 for row in rows)


def test_gradient_checkpointing_changes_nothing(make):
    states = []
    for on in ("false", "true"):
        algo = make("sft", *SMALL, f"model.gradient_checkpointing={on}")
        algo.fit()
        states.append(AutoModelForCausalLM.from_pretrained(algo.context.folder.path / "model").state_dict())
    for name, weights in states[0].items():
        assert (weights - states[1][name]).abs().max() < 1e-4, name


def test_the_result_is_a_stock_model_with_its_tokenizer(make):
    algo = make("sft", *SMALL)
    algo.fit()
    folder = algo.context.folder.path / "model"
    tokenizer = load_tokenizer(folder)
    assert tokenizer.chat_template and len(tokenizer) == AutoModelForCausalLM.from_pretrained(folder).config.vocab_size


def test_epochs_are_counted_in_rows(make):
    algo = make("sft", "algo.epochs=1.5", "algo.batch_size=16", "algo.test_rows=4")
    rows = len(algo.context.corpus.supervised["train"])
    algo.fit()
    assert len(read_lines(algo.context.folder.metrics)) == round(1.5 * rows / 16)


def test_either_steps_or_epochs():
    for options in (("algo.steps=3", "algo.epochs=2"), ("algo.steps=null", "algo.epochs=null")):
        with pytest.raises(InputError, match=", ".join(options) + ".*give one of the two"):
            mora.compose("algo=sft", *options)


def test_no_held_out_rows_is_no_loss(make):
    algo = make("sft", *SMALL)
    algo.context.corpus.supervised["test"] = []
    assert math.isnan(algo.fit()["test/loss"])


def test_an_answer_that_is_too_long_is_refused_before_training(make):
    algo = make("sft", *SMALL)
    algo.context.corpus.supervised["train"].append(Row(prompt="w01", responses=("w01 " * 20,), where="file.jsonl:7"))
    with pytest.raises(InputError, match="file.jsonl:7"):
        algo.fit()


def test_answers_end_as_the_template_ends_a_turn_and_the_stored_model_says_so(make, tmp_path):
    """With <bos> in the place of <|im_end|>: every stage and stock generation read the same ends of ``model/``."""
    ending = "{% for m in messages %}{{ m['content'] }}{{ '<answer>' if m['role'] == 'user' else '<bos>' }}{% endfor %}"
    (tmp_path / "ending.jinja").write_text(ending)
    algo = make("sft", *SMALL, f"model.chat_template={tmp_path / 'ending.jinja'}")
    algo.fit()
    (encoder,) = algo.context.encoders
    names = encoder.tokenizer.convert_ids_to_tokens([*encoder.ends, encoder.response("w01")[-1]])
    assert names == ["<bos>", "<eos>", "<bos>"]
    folder = algo.context.folder.path / "model"
    assert GenerationConfig.from_pretrained(folder).eos_token_id == list(encoder.ends)
    algo.context.policy = str(folder)
    assert algo.context.encoder(algo.context.starting_model(frozen=True)[1]).ends == encoder.ends


def test_what_the_model_cannot_read_is_refused_before_training(make):
    for limits in ((2048, 8), (8, 2048)):
        algo = make("sft", *SMALL)
        algo.context.corpus = replace(algo.context.corpus, max_prompt=limits[0], max_response=limits[1])
        with pytest.raises(InputError, match=r"^model\.config: reads at most 2048 tokens, and dataset\.max_prompt="):
            algo.fit()
