from __future__ import annotations

import shutil

import pytest
import torch
from tests.algo.pieces import REWARD_MODEL as SMALL
from tests.algo.pieces import batch_of, score_model_of

from mora.dataset.split import in_calibration
from mora.errors import InputError
from mora.files import read_json, read_lines
from mora.functional.risk import mean
from mora.reward.discriminant import Statistics
from mora.reward.scorer import ModelScorer
from mora.runtime.actor import standardize
from mora.runtime.context import Context
from mora.runtime.engine import Engine
from mora.types import Row

KINDS = ("reward=scalar", "reward=qr")


def _made(make, *options):
    algo = make("reward_model", *SMALL, *options)
    _, tokenizer = algo.context.starting_model(frozen=True)
    encoder = algo.context.encoder(tokenizer)
    return algo, score_model_of(algo, encoder), encoder


def _counts(rows, objectives):
    counts = [sum(row.labels.get(o) is not None for row in rows) for o in objectives]
    return torch.tensor([counts, counts], dtype=torch.float32)  # every labelled pair teaches


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_sum_over_objectives_of_the_mean_over_labelled_pairs(make, kind):
    algo, model, encoder = _made(make, kind)
    rows, names = algo.context.corpus.pairs["train"][:12], algo.context.corpus.objectives
    counts = _counts(rows, names)
    assert 0 < int(counts.min()) and int(counts.max()) < 12  # some of each objective are unlabelled
    loss, sums = algo.loss(model, batch_of(algo, rows, list(range(12)), encoder), counts)
    expected = 0.0
    for k, name in enumerate(names):
        single = []
        for row in rows:
            if row.labels[name] is None:
                continue
            pair = batch_of(algo, [row], [0], encoder)
            raw = model(pair.ids, pair.mask)
            single.append(float(algo.context.reward.loss(raw[:1], raw[1:], pair.judgments)[0, k].detach()))
        expected += sum(single) / len(single)
        assert float(sums["loss"][k].detach()) == pytest.approx(sum(single), rel=1e-4)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_do_not_change_the_model(make, kind):
    """Labels are missing unevenly: a mean per micro-batch would weigh them differently.  Agreement to 1e-4."""
    states = []
    for size in ("null", "5"):
        algo = make("reward_model", *SMALL, kind, "algo.optimizer.eps=1e-5", f"runtime.micro_batch={size}")
        algo.fit()
        states.append(ModelScorer.load(algo.context.folder.path / "reward", "cpu").model.state_dict())
    for name, weights in states[0].items():
        assert all((weights - other[name]).abs().max() < 1e-4 for other in states[1:]), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_scores_in_units_of_the_reference_policy(make, kind):
    algo = make("reward_model", *SMALL, kind)
    algo.fit()
    scorer = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    facts = scorer.standardization.provenance
    assert scorer.standardized and facts["samples"] == 16 and facts["seed"] == "0"
    assert scorer.objectives == algo.context.corpus.objectives
    raw = mean(scorer.raw(["w01"], ["w02 w03"]))
    expected = (raw - scorer.standardization.mean) / scorer.standardization.std
    assert torch.allclose(mean(scorer.score(["w01"], ["w02 w03"])), expected, atol=1e-4)


def test_training_learns_the_labels(make):
    algo = make("reward_model", *SMALL, "reward=scalar", "algo.steps=40", "algo.batch_size=24", "algo.lr=5e-3")
    algo.fit()
    rows = read_lines(algo.context.folder.metrics)
    names = [f"kind{k}" for k in (0, 1)]
    assert all(rows[-1][f"accuracy/{name}"] > 0.8 for name in names)
    assert all(rows[-1][f"loss/{name}"] < rows[0][f"loss/{name}"] for name in names)


def test_a_tie_in_the_scores_is_half_right(make):
    """At the start of a trunk whose head ignores the text both answers score alike."""
    algo, model, encoder = _made(make, "reward=scalar")
    model.head.linear.weight.data.zero_()
    rows = algo.context.corpus.pairs["train"][:12]
    counts = _counts(rows, algo.context.corpus.objectives)
    _, sums = algo.loss(model, batch_of(algo, rows, list(range(12)), encoder), counts)
    assert (sums["accuracy"] / counts[1]).tolist() == [0.5, 0.5]


def test_pairs_without_any_label_are_left_out_and_none_at_all_is_refused(make):
    algo = make("reward_model", *SMALL)
    bare = [Row(prompt=r.prompt, responses=r.responses, labels={}) for r in algo.context.corpus.pairs["train"]]
    algo.context.corpus.pairs["train"] = bare
    with pytest.raises(InputError, match="objective kind0: no training pair has a label on it"):
        algo.fit()


def test_an_objective_without_label_in_a_batch_costs_nothing(make):
    algo, model, encoder = _made(make)
    rows = [
        Row(prompt=r.prompt, responses=r.responses, labels={"kind0": 1.0, "kind1": None})
        for r in algo.context.corpus.pairs["train"][:4]
    ]
    loss, sums = algo.loss(model, batch_of(algo, rows, [0, 1, 2, 3], encoder), _counts(rows, ("kind0", "kind1")))
    assert bool(torch.isfinite(loss)) and [float(sums[name][1]) for name in ("loss", "accuracy")] == [0.0, 0.0]


@pytest.mark.parametrize("trunk", ["policy", "base"])
def test_the_trunk_starts_from_what_was_named(make, tmp_path, trunk):
    algo = make("reward_model", *SMALL, f"algo.trunk={trunk}")
    spec = algo.context.model
    tokenizer = spec.tokenizer(algo.context.corpus.tokenizer_texts(), tokens="words")
    for name, seed in (("policy", 1), ("base", 2)):
        spec.build(tokenizer, seed=seed).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    algo.context.policy, spec.path, spec.config = str(tmp_path / "policy"), str(tmp_path / "base"), None
    _, tokenizer = algo.context.starting_model(frozen=True)
    model = score_model_of(algo, algo.context.encoder(tokenizer))
    from mora.model.load import load_backbone

    expected = load_backbone(tmp_path / trunk).state_dict()
    found = model.backbones.trunks[0].state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_base_that_is_made_is_the_trunk_as_it_is_made(make, tmp_path):
    """Also when the policy was trained: it stands on disk, the base only in the configuration."""
    algo = make("reward_model", *SMALL, "algo.trunk=base")
    tokenizer = algo.context.model.tokenizer(algo.context.corpus.tokenizer_texts(), tokens="words")
    for part in (algo.context.model.build(tokenizer, seed=5), tokenizer):
        part.save_pretrained(tmp_path / "policy")
    algo.context.policy = str(tmp_path / "policy")
    found = score_model_of(algo, algo.context.encoder(tokenizer)).backbones.trunks[0].state_dict()
    made = algo.context.model.build(tokenizer, seed=0).base_model.state_dict()
    assert all(torch.equal(found[name], made[name]) for name in made)


@pytest.mark.parametrize("trunk", ["policy", "base"])
def test_the_policy_is_not_trained_with_the_trunk(make, tmp_path, monkeypatch, trunk):
    """Reference samples come from the policy as it was, whatever was done to the trunk."""
    algo = make("reward_model", *SMALL, "algo.steps=2", f"algo.trunk={trunk}")
    model, tokenizer = algo.context.starting_model(frozen=True)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "policy")
    algo.context.policy = str(tmp_path / "policy")
    before = {name: p.clone() for name, p in algo.context.starting_model(frozen=True)[0].named_parameters()}
    seen = {}

    def listen(context, scorer, policy, encoder, **more):
        seen.update({name: p.clone() for name, p in policy.named_parameters()})
        return standardize(context, scorer, policy, encoder, **more)

    monkeypatch.setattr("mora.runtime.reward_start.standardize", listen)
    algo.fit()
    assert all(torch.equal(seen[name], before[name]) for name in before)


# --- a head that is solved -------------------------------------------------------------------------------------------

GDA = ("reward=gda", "reward.calibration_share=0.3", "algo.batch_size=7", *SMALL[3:])


def test_a_solved_head_leaves_the_trunk_as_it_is(make):
    algo = make("reward_model", *GDA)
    _, before, _ = _made(make, *GDA)
    facts = algo.fit()["discriminant"]
    scorer = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    for name, weights in before.backbones.trunks[0].state_dict().items():
        assert torch.equal(scorer.model.backbones.trunks[0].state_dict()[name], weights), name
    assert scorer.model.head.linear.weight.abs().sum() > 0 and scorer.standardized
    card = read_json(algo.context.folder.path / "reward" / "reward.json")
    assert card["reward"]["_target_"] == "mora.reward.discriminant.Discriminant"
    for name in algo.context.corpus.objectives:
        assert card["discriminant"][name]["temperature"] == facts[name]["temperature"] > 0
        assert 0 <= facts[name]["shrinkage"] <= 1 and facts[name]["rows"] > 0


def test_a_solved_head_is_that_of_the_features_of_the_pairs_it_was_solved_from(make):
    """Against one pass without batches over the pairs that are not kept for calibration."""
    algo, model, encoder = _made(make, *GDA)
    rows = encoder.admit(algo.context.corpus.pairs["train"])
    kept = [row for row in rows if not in_calibration(row.prompt, 0.3)]
    assert 0 < len(kept) < len(rows)
    assert len(kept) % 7  # the last batch is not full, and its pairs count
    statistics = Statistics(algo.context.corpus.objectives, model.head.linear.in_features, "difference")
    pairs = batch_of(algo, kept, list(range(len(kept))), encoder)
    with torch.no_grad():
        (features,) = model.eval().features(pairs.ids, pairs.mask)
    statistics.add(features[: len(kept)], features[len(kept) :], pairs.judgments.labels, pairs.judgments.labelled)
    weights, _, facts = statistics.solve()
    found = algo.fit()["discriminant"]
    head = ModelScorer.load(algo.context.folder.path / "reward", "cpu").model.head.linear.weight.double()
    temperatures = torch.tensor([found[name]["temperature"] for name in algo.context.corpus.objectives])
    cosine = torch.nn.functional.cosine_similarity(head, weights)
    assert (cosine > 0.999).all()
    torch.testing.assert_close(head.norm(dim=1), weights.norm(dim=1) / temperatures, rtol=1e-2, atol=0)
    assert [found[n]["rows"] for n in facts] == [facts[n]["rows"] for n in facts]


def test_a_solved_head_does_not_depend_on_micro_batches_or_an_interruption(make):
    heads = []
    for size in ("null", "3"):
        algo = make("reward_model", *GDA, f"runtime.micro_batch={size}", "runtime.save_every=1")
        algo.fit()
        heads.append(ModelScorer.load(algo.context.folder.path / "reward", "cpu").model.head.linear.weight)
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-3, atol=1e-4)
    again = make("reward_model", *GDA, "runtime.micro_batch=3", "runtime.save_every=1")
    for newest in sorted(algo.context.folder.checkpoints.iterdir())[-1:]:
        shutil.rmtree(newest)  # as if the last step had not been kept
    again.context.folder = algo.context.folder
    again.fit()
    assert torch.equal(ModelScorer.load(algo.context.folder.path / "reward", "cpu").model.head.linear.weight, heads[1])


def test_no_pair_for_calibration_is_refused(make):
    algo = make("reward_model", *GDA[:1], "reward.calibration_share=1e-9", *GDA[2:])
    with pytest.raises(InputError, match="raise reward.calibration_share"):
        algo.fit()


def test_the_policy_is_loaded_before_and_after_training_alone(make, monkeypatch):
    algo = make("reward_model", *SMALL, "reward=scalar")
    seen, load, descend = [], Context.starting_weights, Engine.step
    monkeypatch.setattr(Context, "starting_weights", lambda self, *a, **k: seen.append("loaded") or load(self, *a, **k))
    monkeypatch.setattr(Engine, "step", lambda self, losses: seen.append("step") or descend(self, losses))
    algo.fit()
    assert len(seen) > 3 and seen == ["loaded", *["step"] * (len(seen) - 2), "loaded"]  # tried first, and let go
