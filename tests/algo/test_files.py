"""Training on rows that lie in files, and on batches of like lengths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.algo.pieces import policy_of

from mora.dataset.row_writer import RowWriter
from mora.dataset.store import StoredRows
from mora.dataset.tokens import TokenizedRows
from mora.errors import InputError
from mora.files import read_lines
from mora.reward.scorer import ModelScorer
from mora.runtime.ptx import Pretraining

SHORT = ("algo.epochs=null", "algo.steps=5", "algo.batch_size=8", "runtime.micro_batch=3")
REWARD = ("algo.reference_prompts=4", "algo.reference_samples=2", "algo.cosine_every=2", "algo.quality_every=0")
WINDOWS = ("algo.length_window=1", "algo.length_window=3")


def _stored(corpus, folder: Path) -> None:
    """Replace the rows of a corpus by the same rows in files."""
    for kind in ("supervised", "pairs"):
        splits = getattr(corpus, kind)
        for split in splits:
            with RowWriter(folder / f"{kind}-{split}", corpus.objectives) as writer:
                for row in splits[split]:
                    writer.add(row)
            splits[split] = StoredRows.open(folder / f"{kind}-{split}")


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {
        f"{path.name}/{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("algo", "more", "product"), [("sft", (), "model"), ("reward_model", REWARD, "reward")])
def test_rows_in_files_train_the_same_model_to_the_bit(make, tmp_path, algo, more, product, window):
    found = []
    for stored in (False, True):
        one = make(algo, *SHORT, *more, window)
        if stored:
            _stored(one.context.corpus, tmp_path / "rows")
        one.fit()
        losses = [{k: v for k, v in row.items() if "loss" in k} for row in read_lines(one.context.folder.metrics)]
        found.append((_weights(one.context.folder.path / product), losses))
    (plain, metrics), (weights, others) = found
    assert plain.keys() == weights.keys() and all(torch.equal(plain[name], weights[name]) for name in plain)
    assert metrics == others and any(metrics[-1].values())
    assert len(list((tmp_path / "rows").glob("tokens-*"))) == 1


def test_a_closed_form_and_a_supervised_term_read_rows_in_files(make, tmp_path):
    options = ("reward=gda", "reward.calibration_share=0.3", "algo.batch_size=7", "runtime.micro_batch=3", *REWARD[:2])
    heads = []
    for stored in (False, True):
        one = make("reward_model", *options)
        if stored:
            _stored(one.context.corpus, tmp_path / "rows")
        one.fit()
        heads.append(ModelScorer.load(one.context.folder.path / "reward", "cpu").model.head.linear.weight)
    assert torch.equal(*heads)
    losses = []
    for stored in (False, True):
        algo = make("panacea", "runtime.micro_batch=3")
        if stored:
            _stored(algo.context.corpus, tmp_path / "more")
        model, tokenizer = algo.context.starting_model(frozen=True)
        ptx = Pretraining(algo.context, algo.context.encoder(tokenizer), coef=0.5, batch_size=8)
        assert isinstance(ptx.rows, TokenizedRows) == stored
        policy = policy_of(algo, model)
        losses.append([float(one()[0].detach()) for one in ptx.losses(policy, update=1)])
    assert losses[0] == losses[1] and len(losses[0]) == 3


@pytest.mark.parametrize(("algo", "more", "product"), [("sft", (), "model"), ("reward_model", REWARD, "reward")])
def test_batches_of_like_lengths_depend_on_no_micro_batch(make, algo, more, product):
    """Neither rows sorted within a process nor sequences read by length change more than rounding."""
    states = []
    for size in ("null", "3"):
        one = make(algo, *SHORT[:3], *more, WINDOWS[1], f"runtime.micro_batch={size}", "algo.optimizer.eps=1e-5")
        one.fit()
        states.append(_weights(one.context.folder.path / product))
    for name, weights in states[0].items():
        assert (weights - states[1][name]).abs().max() < 1e-4, name


def test_a_window_makes_batches_of_like_lengths(make):
    spread = []
    for window in (1, 8):
        one = make("sft", "algo.batch_size=8")
        _, tokenizer = one.context.starting_model(frozen=True)
        rows, encoder = one.context.corpus.supervised["train"], one.context.encoder(tokenizer)
        batches = one.context.batches(rows, encoder, 8, window)
        spread.append(sum(float(encoder.lengths([rows[i] for i in batches(step)]).std()) for step in range(8)))
    assert spread[1] < 0.5 * spread[0]


def test_rows_of_a_micro_batch_are_alike_in_length(make):
    context = make("sft", "runtime.micro_batch=2").context
    lengths = torch.tensor([5, 1, 4, 1, 3]).numpy()
    assert context.micro_batches([10, 11, 12, 13, 14], lengths) == [[11, 13], [14, 12], [10]]
    assert context.micro_batches([10, 11]) == [[10, 11]] == context.micro_batches([10, 11], lengths[:2])


@pytest.mark.parametrize("algo", ["sft", "reward_model"])
def test_a_window_of_no_batch_is_refused(make, algo):
    with pytest.raises(InputError, match=r"algo\.length_window=0: .* at least 1"):
        make(algo, "algo.length_window=0")
