"""Heads on a trunk that stays as it is: its features, the files that keep them, and encoders as trunks."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.algo.pieces import REWARD_MODEL as SMALL
from tests.algo.pieces import batch_of, score_model_of

from mora.dataset import collate
from mora.errors import InputError
from mora.files import read_json, read_lines
from mora.reward.scorer import ModelScorer
from mora.runtime import feature_files
from mora.runtime.feature_files import FeatureFiles

FROZEN = (*SMALL, "reward=scalar", "algo.freeze_trunk=true")
BERT = (
    "algo.epochs=null",
    "algo.steps=40",
    "algo.batch_size=12",
    "model.encoder=true",
    "model.config.model_type=bert",
)


def sequences(algo, encoder, count=12):
    rows = algo.context.corpus.pairs["train"][:count]
    return [
        encoder.prompt_of(row).tolist() + encoder.response_of(row, side).tolist() for side in (0, 1) for row in rows
    ]


def read(algo):
    algo.freeze_trunk = True
    tokenizer = algo.context.starting_tokenizer()
    encoder = algo.context.encoder(tokenizer)
    return score_model_of(algo, encoder), encoder


def test_a_frozen_trunk_keeps_its_bits_and_its_heads_learn(make):
    algo = make("reward_model", *FROZEN, "algo.steps=60", "algo.head_lr=0.05")
    before, _ = read(make("reward_model", *FROZEN))
    algo.fit()
    scorer = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    found = scorer.model.backbones.trunks[0].state_dict()
    assert all(torch.equal(found[name], value) for name, value in before.backbones.trunks[0].state_dict().items())
    rows = read_lines(algo.context.folder.metrics)
    assert all(row["spent/trained_tokens"] == 0 for row in rows)
    assert all(rows[-1][f"loss/kind{k}"] < 0.9 * rows[0][f"loss/kind{k}"] for k in (0, 1))


def test_heads_trained_on_kept_features_are_those_of_a_trunk_that_is_read_at_every_step(make):
    """The same run with the trunk's learning rate at 0 and no decay reads it anew each time."""
    frozen = make("reward_model", *FROZEN)
    moving = make("reward_model", *SMALL, "reward=scalar", "algo.lr=0", "algo.optimizer.max_grad_norm=0")
    frozen.fit(), moving.fit()
    heads = [ModelScorer.load(a.context.folder.path / "reward", "cpu").model.head.linear for a in (frozen, moving)]
    torch.testing.assert_close(heads[0].weight, heads[1].weight, rtol=1e-3, atol=1e-5)


def test_features_are_those_of_each_sequence_alone(make, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "AT_ONCE", 24)  # several batches, and several files
    monkeypatch.setattr(feature_files, "PER_FILE", 60)
    algo = make("reward_model", *FROZEN)
    model, encoder = read(algo)
    asked = sequences(algo, encoder)
    files = FeatureFiles(tmp_path, model, encoder.pad, None)
    found = files.of([*asked, asked[0]], "answers")
    assert files.read == len({*map(tuple, asked)}) and len(list(files.folder.glob("*.safetensors"))) > 2
    for ids, features in zip([*asked, asked[0]], found, strict=True):
        alone = torch.tensor([ids])
        (expected,) = model.features(alone, torch.ones_like(alone, dtype=torch.bool))
        torch.testing.assert_close(features[None], expected, rtol=1e-4, atol=1e-5)


def test_another_run_finds_the_files_whatever_the_order_and_another_trunk_does_not(make, tmp_path):
    algo = make("reward_model", *FROZEN)
    model, encoder = read(algo)
    asked = sequences(algo, encoder)
    first = FeatureFiles(tmp_path, model, encoder.pad, None)
    expected = first.of(asked, "answers")
    again = FeatureFiles(tmp_path, model, encoder.pad, None)
    assert torch.equal(again.of(asked[::-1], "answers"), expected.flip(0)) and again.read == 0
    model.backbones.trunks[0].get_input_embeddings().weight.data[5, 0] += 1
    other = FeatureFiles(tmp_path, model, encoder.pad, None)
    assert other.folder != first.folder
    other.of(asked, "answers")
    assert other.read == first.read


def test_the_same_weights_under_another_configuration_are_another_trunk(make, tmp_path):
    """Two heads instead of four read the same weights otherwise."""
    found = []
    for heads in (4, 2):
        own = (f"model.config.num_attention_heads={heads}", f"model.config.num_key_value_heads={heads}")
        algo = make("reward_model", *FROZEN, "model.config.hidden_size=32", *own)
        model, encoder = read(algo)
        files = FeatureFiles(tmp_path, model, encoder.pad, None)
        found.append((files.folder, files.of(sequences(algo, encoder), "answers"), files.read))
    assert found[0][0] != found[1][0] and found[1][2] > 0
    assert not torch.allclose(found[0][1], found[1][1])


@pytest.mark.parametrize("spoil", [lambda one: one * torch.nan, lambda one: one.long(), lambda one: one[:-1]])
def test_a_file_of_other_numbers_is_told_too(make, tmp_path, spoil):
    algo = make("reward_model", *FROZEN)
    model, encoder = read(algo)
    files, asked = FeatureFiles(tmp_path, model, encoder.pad, None), sequences(algo, encoder)
    files.of(asked, "answers")
    (path,) = files.folder.glob("*.safetensors")
    save_file({"features": spoil(load_file(path)["features"])}, path)
    with pytest.raises(InputError, match="its features are no .* finite numbers in fp32; delete"):
        files.of(asked, "answers")


def test_a_damaged_file_of_features_is_told_with_what_to_do(make, tmp_path):
    algo = make("reward_model", *FROZEN)
    model, encoder = read(algo)
    files, asked = FeatureFiles(tmp_path, model, encoder.pad, None), sequences(algo, encoder)
    files.of(asked, "answers")
    (path,) = files.folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="is damaged .*; delete .*, and it is made again"):
        files.of(asked, "answers")


def test_two_processes_share_the_work_and_find_what_one_finds(make, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "AT_ONCE", 24)
    algo = make("reward_model", *FROZEN)
    model, encoder = read(algo)
    asked = sequences(algo, encoder)
    parts = []

    class Rank:
        world_size, device, main = 2, torch.device("cpu"), False

        def __init__(self, rank):
            self.rank = rank

        def sum(self, tensor):
            if tensor.dim() == 2:
                parts.append(tensor)
            return tensor

    for rank in (0, 1):
        FeatureFiles(tmp_path / "none", model, encoder.pad, Rank(rank)).of(asked, "answers")
    assert not list((tmp_path / "none").glob("*/*.safetensors"))  # the first process writes
    (first, second), ordered = parts, sorted({*map(tuple, asked)}, key=lambda ids: (len(ids), ids))
    assert not bool(((first != 0).any(1) & (second != 0).any(1)).any())
    assert torch.equal(first + second, FeatureFiles(tmp_path, model, encoder.pad, None).of(ordered, "answers"))


def test_scores_of_pairs_by_kept_features_are_those_of_the_model(make):
    algo = make("reward_model", *FROZEN)
    algo.fit()
    scorer = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    rows = algo.context.corpus.pairs["test"][:9]
    given = [row.prompt for row in rows], *([row.responses[side] for row in rows] for side in (0, 1))
    expected = scorer.pairs(*given)
    files = FeatureFiles(algo.context.folder.features, scorer.model, scorer.encoder.pad, None)
    scorer.features = files.of
    for found, one in zip(scorer.pairs(*given)[1:], expected[1:], strict=True):
        torch.testing.assert_close(found, one, rtol=1e-4, atol=1e-5)
    assert files.read > 0 and read_json(algo.context.folder.path / "reward" / "reward.json")["frozen_trunk"] is True


def test_a_trunk_that_stays_is_read_once_by_all_kinds(make):
    """A run of another kind in the same folder of runs finds the features of the first one."""
    kinds = (
        ("reward=gda", "reward.calibration_share=0.3"),
        ("reward=scalar", "algo.freeze_trunk=true"),
        ("reward=qr",),
    )
    passes = []
    for kind in kinds:
        frozen = () if kind == ("reward=qr",) else ("algo.reference_prompts=0",)
        algo = make("reward_model", *SMALL, "algo.freeze_trunk=true", *kind, *frozen)
        algo.fit()
        passes.append([row["spent/forward_passes"] for row in read_lines(algo.context.folder.metrics)])
    assert passes[0][0] == len({*map(tuple, sequences(algo, algo.context.encoders[0], 48))})
    assert sum(passes[1]) == 0 and sum(passes[2]) == 16  # the reference answers alone


# --- encoders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [("reward=scalar",), ("reward=qr", "algo.sharing=lora"), ("reward=gda", "reward.calibration_share=0.3")]
)
def test_an_encoder_is_the_trunk_of_a_reward_model_and_scores_stay_logits(make, options):
    algo = make("reward_model", *BERT, *options, "algo.lr=5e-3")
    algo.fit()
    scorer = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    assert scorer.model.pooling == "mean" and not scorer.standardized
    card = read_json(algo.context.folder.path / "reward" / "reward.json")
    assert card["pooling"] == "mean" and card["standardization"] is None
    names = {
        name for file in (algo.context.folder.path / "reward").glob("model*.safetensors") for name in load_file(file)
    }
    assert not any("pooler" in name for name in names)


def test_an_encoder_reads_the_mean_over_all_tokens_and_no_padding(make):
    algo = make("reward_model", *BERT, "reward=scalar")
    model, encoder = read(algo)
    batch = batch_of(algo, algo.context.corpus.pairs["train"][:4], [0, 1, 2, 3], encoder)
    assert not bool(batch.mask.all())
    (found,) = model.features(batch.ids, batch.mask)
    for row, (ids, mask) in enumerate(zip(batch.ids, batch.mask, strict=True)):
        hidden = model.backbones.trunks[0](input_ids=ids[mask][None]).last_hidden_state
        torch.testing.assert_close(found[row], hidden[0].mean(0), rtol=1e-4, atol=1e-5)
    assert collate.pairs(algo.context.corpus.pairs["train"][:1], encoder, ("kind0",)).features is None


def test_a_converted_trunk_is_read_as_it_was_read_before(make):
    """An encoder's by its mean, whatever the policy is that the units are measured on."""
    first = make("reward_model", *BERT, "reward=scalar", "algo.steps=2")
    first.fit()
    again = make("reward_model", *SMALL, "reward=gda", "reward.calibration_share=0.3", "algo.trunk=reward")
    again.context.trunk_folder = first.context.folder.path / "reward"
    again.fit()
    scorer = ModelScorer.load(again.context.folder.path / "reward", "cpu")
    assert scorer.model.pooling == "mean" and scorer.standardized
