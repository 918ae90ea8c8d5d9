"""Reward models of several backbones and kinds, trained by the algorithm."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.algo.pieces import batch_of, score_model_of

from mora.errors import InputError
from mora.evaluation.labelled import labelled_pairs
from mora.evaluation.reward_model import _sign
from mora.files import read_json, read_lines
from mora.functional import risk
from mora.reward.scorer import ModelScorer
from mora.runtime.reward_start import trunk_encoder
from mora.runtime.teaching import rated_by_teacher, rows_that_teach

SMALL = (
    "algo.epochs=null",
    "algo.steps=3",
    "algo.batch_size=12",
    "algo.reference_prompts=8",
    "algo.reference_samples=2",
    "algo.lora.rank=2",
)
TEXTS = ["w01 w02", "w03"], ["w04 w08 w00", "w05 w01"]


def trained(make, *options, **sizes):
    algo = make("reward_model", *SMALL, *options, **sizes)
    facts = algo.fit()
    return algo, ModelScorer.load(algo.context.folder.path / "reward", "cpu"), facts


def rated(algo, good=lambda row, side: len(row.responses[side].split()) > 3):
    """The training pairs with a mark on each answer."""
    pairs = algo.context.corpus.pairs["train"]
    names = algo.context.corpus.objectives
    algo.context.corpus.pairs["train"] = [
        dataclasses.replace(row, ratings={n: tuple((float(good(row, side)),) for side in (0, 1)) for n in names})
        for row in pairs
    ]


def test_separate_models_learn_as_if_each_were_trained_alone(make, monkeypatch):
    """With the labels of one objective only, and a clip that never acts, its model is what it is in company."""
    options = ("reward=scalar", "algo.optimizer.max_grad_norm=0", "algo.sharing=separate")
    company, together, _ = trained(make, *options)
    rows = rows_that_teach(company.context, together.encoder, token_wise=False)
    algo = make("reward_model", *SMALL, *options)
    some = [dataclasses.replace(row, labels={**row.labels, "kind1": None}) for row in rows]
    monkeypatch.setattr("mora.algo.reward_model.rows_that_teach", lambda *_, **__: some)
    algo.fit()
    alone = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    torch.testing.assert_close(alone.outputs(*TEXTS)[:, 0], together.outputs(*TEXTS)[:, 0], atol=1e-5, rtol=1e-5)
    assert (alone.outputs(*TEXTS)[:, 1] - together.outputs(*TEXTS)[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("sharing", ["trunk", "lora", "separate"])
def test_micro_batches_do_not_change_models_that_share_less(make, sharing):
    found = [
        trained(make, "reward=qr", f"algo.sharing={sharing}", f"runtime.micro_batch={size}")[1].outputs(*TEXTS)
        for size in ("null", "5")
    ]
    torch.testing.assert_close(*found, atol=2e-4, rtol=2e-4)


def test_adapters_leave_the_trunk_as_it_is_and_are_trained(make):
    algo, scorer, _ = trained(make, "reward=scalar", "algo.sharing=lora")
    fresh = score_model_of(algo, scorer.encoder)
    for name, weight in fresh.backbones.trunks[0].state_dict().items():
        if not name.endswith((".A", ".B")):
            assert torch.equal(scorer.model.backbones.trunks[0].state_dict()[name], weight), name
    assert all(layer.B.abs().sum((1, 2)).min() > 0 for layer in scorer.model.backbones.banks[0].layers.values())


@pytest.mark.parametrize("sharing", ["trunk", "lora", "separate"])
def test_an_ensemble_is_trained_by_one_command_and_its_members_differ(make, sharing):
    algo, scorer, _ = trained(make, "reward=ensemble", "reward.members=3", f"reward.sharing={sharing}", "algo.steps=4")
    belief = scorer.raw(*TEXTS)
    assert belief.kind == "member" and belief.atoms.shape == (2, 2, 3)
    assert (risk.spread(belief) > 1e-3).all()
    assert len(scorer.model.backbones) == (1 if sharing == "trunk" else 3)
    rows = read_lines(algo.context.folder.metrics)
    assert rows[-1]["spent/trained_tokens"] % len(scorer.model.backbones) == 0


def test_an_ensemble_of_one_trains_as_its_member(make):
    _, alone, _ = trained(make, "reward=scalar")
    _, one, _ = trained(make, "reward=ensemble", "reward.members=1", "reward.resample=false")
    assert torch.equal(one.outputs(*TEXTS), alone.outputs(*TEXTS))


def test_token_wise_pairs_are_compared_up_to_the_end_of_the_shorter_answer(make):
    algo = make("reward_model", *SMALL, "reward=scalar", "algo.token_wise=true")
    _, tokenizer = algo.context.starting_model(frozen=True)
    encoder = algo.context.encoder(tokenizer)
    model, rows = score_model_of(algo, encoder), rows_that_teach(algo.context, encoder, token_wise=algo.token_wise)[:8]
    pairs = batch_of(algo, rows, list(range(8)), encoder)
    losses, last = algo._losses(model, pairs)
    assert torch.equal(last, model(pairs.ids, pairs.mask))
    for number, row in enumerate(rows):
        tokens = [encoder.prompt(row.prompt) + encoder.response(text) for text in row.responses]
        scores = [
            model(torch.tensor([t]), torch.ones(1, len(t), dtype=torch.bool), every_token=True)[0] for t in tokens
        ]
        shorter = min(map(len, tokens))
        first = next(i for i in range(shorter) if tokens[0][i] != tokens[1][i])
        for column, name in enumerate(algo.context.corpus.objectives):
            if row.labels[name] is None:
                assert losses[number, column] == 0
                continue
            sign = 2 * row.labels[name] - 1
            gaps = [sign * (scores[1][i, column, 0] - scores[0][i, column, 0]) for i in range(first, shorter)]
            squares = [(scores[1][i, column, 0] + scores[0][i, column, 0]) ** 2 for i in range(first, shorter)]
            expected = sum(torch.log1p((-gap).exp()) for gap in gaps) / len(gaps)
            expected = expected + algo.context.reward.centering * sum(squares) / len(squares)
            torch.testing.assert_close(losses[number, column], expected, atol=1e-5, rtol=1e-4)


def test_equal_answers_are_refused_where_tokens_are_compared(make):
    algo = make("reward_model", *SMALL, "reward=scalar", "algo.token_wise=true")
    row = algo.context.corpus.pairs["train"][0]
    algo.context.corpus.pairs["train"][0] = dataclasses.replace(row, responses=("w01", "w01"), where="pairs.jsonl:7")
    with pytest.raises(InputError, match=r"pairs\.jsonl:7: the two answers are the same"):
        algo.fit()


def test_cosines_of_gradients_are_those_of_the_losses_apart(make):
    algo, _, _ = trained(make, "reward=scalar", "algo.cosine_every=2")
    rows = read_lines(algo.context.folder.metrics)
    assert ["gradient_cosine/kind0.kind1" in row for row in rows] == [True, False, True]
    again = make("reward_model", *SMALL, "reward=scalar")
    _, tokenizer = again.context.starting_model(frozen=True)
    encoder = again.context.encoder(tokenizer)
    model, kept = score_model_of(again, encoder), rows_that_teach(again.context, encoder, token_wise=False)
    from mora.dataset.order import batch

    chosen = [kept[i] for i in batch(0, len(kept), 12, again.context.seed)]
    pairs = batch_of(again, chosen, list(range(12)), encoder)
    gradients = []
    for column in range(2):
        model.zero_grad()
        losses, _ = again._losses(model, pairs)
        (losses[:, column].sum() / pairs.judgments.labelled[:, column].sum()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.backbones.parameters() if p.grad is not None]))
    expected = torch.nn.functional.cosine_similarity(*gradients, dim=0).item()
    assert rows[0]["gradient_cosine/kind0.kind1"] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    trained_apart, _, _ = trained(make, "reward=scalar", "algo.cosine_every=1", "algo.sharing=lora")
    assert not any("cosine" in key for row in read_lines(trained_apart.context.folder.metrics) for key in row)


def test_a_reward_with_a_sign_learns_its_zero(make):
    algo = make("reward_model", *SMALL, "reward=cost", "algo.steps=60", "algo.batch_size=24", "algo.lr=3e-3")
    rated(algo)
    algo.fit()
    scorer = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    rows = algo.context.corpus.pairs["train"]
    long = torch.tensor([len(row.responses[0].split()) > 3 for row in rows])
    scores = risk.mean(scorer.raw([row.prompt for row in rows], [row.responses[0] for row in rows]))
    assert (((scores > 0) == long[:, None]).double().mean(0) > 0.9).all()
    units = risk.mean(scorer.score([row.prompt for row in rows], [row.responses[0] for row in rows]))
    assert torch.equal(units > 0, scores > 0)  # units scale it and never shift it
    pairs = labelled_pairs(scorer, rows, None)["kind0"]
    marks = [float(marks[0]) for row in pairs.rows for marks in row.ratings["kind0"]]
    found = risk.mean(
        scorer.raw(*zip(*((row.prompt, text) for row in pairs.rows for text in row.responses), strict=True))
    )
    right = [(score > 0) == (mark > 0) for score, mark in zip(found[:, 0].tolist(), marks, strict=True)]
    assert _sign(pairs, scorer, "kind0") == {"value": pytest.approx(sum(right) / len(right)), "n": 2 * len(pairs.rows)}


def test_a_teacher_rates_with_every_member(make):
    algo, scorer, _ = trained(make, "reward=ensemble", "reward.members=3")
    student = make("reward_model", *SMALL)
    student.context.teacher_folder = algo.context.folder.path / "reward"
    rows = rated_by_teacher(student.context, student.context.corpus.pairs["train"][:5])
    for row in rows:
        for side in (0, 1):
            atoms = scorer.score([row.prompt], [row.responses[side]]).atoms[0]
            for column, name in enumerate(scorer.objectives):
                torch.testing.assert_close(torch.tensor(row.ratings[name][side]), atoms[column], atol=1e-4, rtol=1e-4)


def test_a_trained_trunk_is_given_another_head_and_both_are_compared(make):
    first, before, _ = trained(make, "reward=scalar", "algo.steps=30", "algo.lr=3e-3")
    algo = make("reward_model", *SMALL, "reward=gda", "reward.calibration_share=0.3", "algo.trunk=reward")
    algo.context.trunk_folder = first.context.folder.path / "reward"
    facts = algo.fit()["conversion"]
    after = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    for name, weight in before.model.backbones.state_dict().items():
        assert torch.equal(after.model.backbones.state_dict()[name], weight), name
    rows = [row for row in algo.context.corpus.pairs["test"] if row.labels["kind0"] is not None]
    prompts, sides = [row.prompt for row in rows], [[row.responses[side] for row in rows] for side in (0, 1)]
    margins = [
        risk.mean(p.raw(prompts, sides[1]))[:, 0] - risk.mean(p.raw(prompts, sides[0]))[:, 0] for p in (before, after)
    ]
    signs = torch.tensor([2 * row.labels["kind0"] - 1 for row in rows])
    found = facts["kind0"]
    assert found["n"] == len(rows)
    assert found["accuracy_before"] == pytest.approx(((margins[0] * signs) > 0).double().mean().item())
    assert found["accuracy_after"] == pytest.approx(((margins[1] * signs) > 0).double().mean().item())
    assert found["margin_correlation"] == pytest.approx(torch.corrcoef(torch.stack(margins))[0, 1].item(), rel=1e-4)
    heads = [p.model.head.linear.weight[0] for p in (before, after)]
    assert found["cosine"] == pytest.approx(torch.cosine_similarity(*heads, dim=0).item(), rel=1e-4)
    assert read_json(algo.context.folder.path / "reward" / "reward.json")["conversion"] == facts


@pytest.mark.parametrize(
    "several", [("algo.sharing=separate",), ("algo.sharing=lora",), ("reward=ensemble", "reward.sharing=trunk")]
)
def test_a_trunk_of_several_is_not_converted(make, several):
    first, _, _ = trained(make, "reward=scalar", *several, objectives=1)
    algo = make("reward_model", *SMALL, "reward=gda", "algo.trunk=reward", objectives=1)
    algo.context.trunk_folder = first.context.folder.path / "reward"
    if several == ("algo.sharing=separate",):  # of one objective it is one trunk with one head
        assert trunk_encoder(algo.context, None) is not None
        return
    with pytest.raises(InputError, match="has several models, members or adapters"):
        algo.fit()


def test_a_teacher_whose_atoms_are_the_same_for_all_answers_is_refused(make):
    algo, _, _ = trained(make, "reward=categorical")
    student = make("reward_model", *SMALL)
    student.context.teacher_folder = algo.context.folder.path / "reward"
    with pytest.raises(InputError, match="the teacher's belief is category with weights of its own"):
        rated_by_teacher(student.context, student.context.corpus.pairs["train"][:5])
