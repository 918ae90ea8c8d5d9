from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mora.errors import InputError
from mora.files import read_json, write_json
from mora.functional import risk
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar
from mora.reward.scorer import GoldScorer, ModelScorer
from mora.types import RewardBelief

MakeScorer = Callable[..., ModelScorer]
Texts = tuple[list[str], list[str]]
SCALAR = Scalar(strength="ignore", margin=0.0, centering=0.01, l2=0.0)
QUANTILE = Quantile(atoms=5, at=None, coupling="independent", initial_gap=0.1, centering=0.01)
PROVENANCE = {"policy": "sft-tiny-0123456789", "seed": "7"}


@pytest.mark.parametrize("kind", [SCALAR, QUANTILE], ids=lambda kind: kind.name)
def test_scores_come_in_input_order_and_do_not_depend_on_the_batch(
    make_scorer: MakeScorer, texts: Texts, kind: Any
) -> None:
    prompts, responses = texts
    scorer = make_scorer(kind)
    together = scorer.raw(prompts, responses).atoms
    one_by_one = torch.cat([scorer.raw([p], [r]).atoms for p, r in zip(prompts, responses, strict=True)])
    torch.testing.assert_close(together, one_by_one, atol=1e-4, rtol=1e-4)
    assert (together[1:] - together[:-1]).abs().max() > 0.01  # the texts do differ
    backwards = make_scorer(kind, batch_size=5).raw(prompts[::-1], responses[::-1]).atoms
    torch.testing.assert_close(backwards.flip(0), together, atol=1e-4, rtol=1e-4)


def test_scoring_leaves_the_training_mode_and_makes_no_gradient(make_scorer: MakeScorer, texts: Texts) -> None:
    scorer = make_scorer(SCALAR)
    scorer.model.train()
    assert not scorer.raw(*texts).atoms.requires_grad
    assert scorer.model.training


def test_nothing_to_score_is_an_empty_belief(make_scorer: MakeScorer) -> None:
    assert make_scorer(QUANTILE).raw([], []).atoms.shape == (0, 2, 5)


def test_unpaired_texts_are_refused(make_scorer: MakeScorer) -> None:
    with pytest.raises(ValueError, match="1 prompts and 2 responses"):
        make_scorer(SCALAR).raw(["a"], ["b", "c"])


def test_long_answers_are_cut_and_scored(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(SCALAR)  # 12 tokens with the end token: 11 words
    long = scorer.raw(["a"], [" ".join("b" * 40)]).atoms
    assert torch.equal(long, scorer.raw(["a"], [" ".join("b" * 11)]).atoms)


def test_scores_have_no_unit_before_standardization(make_scorer: MakeScorer, texts: Texts) -> None:
    scorer = make_scorer(SCALAR)
    assert not scorer.standardized
    with pytest.raises(InputError, match="no reference statistics"):
        scorer.score(*texts)


@pytest.mark.parametrize("kind", [SCALAR, QUANTILE], ids=lambda kind: kind.name)
def test_standardized_means_have_mean_0_and_deviation_1(make_scorer: MakeScorer, texts: Texts, kind: Any) -> None:
    scorer = make_scorer(kind)
    fitted = scorer.standardize(*texts, provenance=PROVENANCE)
    means = risk.mean(scorer.score(*texts))
    torch.testing.assert_close(means.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(means.std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    assert fitted.provenance["samples"] == 12
    assert fitted.provenance["policy"] == "sft-tiny-0123456789" and len(fitted.provenance["prompts_sha256"]) == 64


def test_atoms_are_shifted_and_scaled_alike(make_scorer: MakeScorer, texts: Texts) -> None:
    scorer = make_scorer(QUANTILE)
    raw = scorer.raw(*texts)
    fitted = scorer.standardize(*texts, provenance=PROVENANCE)
    score = scorer.score(*texts)
    # The spread of a belief is divided by the deviation that its mean is divided by; levels and weights stay.
    torch.testing.assert_close(risk.spread(score), risk.spread(raw) / fitted.std)
    assert score.kind == "quantile" and torch.equal(score.weights, raw.weights)
    torch.testing.assert_close(score.atoms * fitted.std[:, None] + fitted.mean[:, None], raw.atoms)


def test_a_constant_reward_cannot_be_standardized(make_scorer: MakeScorer) -> None:
    with pytest.raises(InputError, match="objective many_a: the 3 reference samples score with a standard deviation"):
        make_scorer(SCALAR).standardize(["a"] * 3, ["b"] * 3, provenance=PROVENANCE)


def test_a_reward_that_is_not_a_number_cannot_be_standardized(make_scorer: MakeScorer, texts: Texts) -> None:
    scorer = make_scorer(SCALAR)
    scorer.model.head.linear.bias.data[1] = float("nan")
    with pytest.raises(InputError, match="many_b"):
        scorer.standardize(*texts, provenance=PROVENANCE)


@pytest.mark.parametrize("kind", [SCALAR, QUANTILE], ids=lambda kind: kind.name)
def test_round_trip_is_exact(make_scorer: MakeScorer, texts: Texts, tmp_path: Path, kind: Any) -> None:
    scorer = make_scorer(kind)
    scorer.standardize(*texts, provenance=PROVENANCE)
    scorer.save(tmp_path / "reward")
    loaded = ModelScorer.load(tmp_path / "reward", "cpu", batch_size=4)
    assert torch.equal(loaded.score(*texts).atoms, scorer.score(*texts).atoms)
    assert loaded.objectives == ("many_a", "many_b")
    assert (loaded.encoder.max_prompt, loaded.encoder.max_response) == (16, 12)
    assert loaded.standardization is not None and scorer.standardization is not None
    assert loaded.standardization.mean.dtype == torch.float32
    assert dict(loaded.standardization.provenance) == dict(scorer.standardization.provenance)


def test_a_scorer_without_statistics_is_stored_as_such(make_scorer: MakeScorer, tmp_path: Path) -> None:
    make_scorer(SCALAR).save(tmp_path / "reward")
    assert not ModelScorer.load(tmp_path / "reward", "cpu").standardized


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    card = read_json(folder / "reward.json")
    change(card)
    (folder / "manifest.json").unlink(missing_ok=True)  # as of a folder from elsewhere
    write_json(folder / "reward.json", card)
    return folder


def test_the_card_names_the_kind_with_its_fields(make_scorer: MakeScorer, tmp_path: Path) -> None:
    make_scorer(QUANTILE).save(tmp_path / "reward", lesson={"pairs": 3})
    card = read_json(tmp_path / "reward" / "reward.json")
    assert card["reward"]["_target_"] == "mora.reward.quantile.Quantile" and card["reward"]["atoms"] == 5
    assert card["lesson"] == {"pairs": 3}
    assert ModelScorer.load(tmp_path / "reward", "cpu").kind == QUANTILE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card["reward"].update(_target_="os.system"), "os.system is outside mora"),
        (lambda card: card["reward"].update(_target_="mora.reward.quantile.risk"), "_target_"),
        (lambda card: card["reward"].update(_target_="mora.reward.absent.Kind"), "no module mora.reward.absent"),
        (lambda card: card["reward"].update(_target_="mora.reward.gold.x.Kind"), "no module mora.reward.gold.x"),
        (
            lambda card: card.update(reward={"_target_": "mora.reward.standardization.Standardization"}),
            "may not be named here",
        ),
        (lambda card: card["reward"].update(atoms="9"), r"reward\.json: .*made of .*reward\.atoms='9': "),
        (lambda card: card["reward"].update(atoms=4.5), r"reward\.json: .*made of .*reward\.atoms=4\.5: "),
        (lambda card: card["reward"].update(atoms=None), r"reward\.json: .*made of .*reward\.atoms=None: "),
        (
            lambda card: card["reward"].update(centering=-1),
            r"reward\.json: .*made of .*reward\.centering=-1: ",
        ),
        (lambda card: card["reward"].update(odd=1), "takes no odd"),
        (lambda card: card["reward"].pop("centering"), "does not fit this version of it .centering"),
        (lambda card: card.pop("reward"), "reward missing"),
        (lambda card: card["reward"].update(_target_="mora.reward.scalar.Scalar"), "takes no"),
        (lambda card: card["reward"].update(atoms=7), "cannot be read as quantile with 7"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(make_scorer: MakeScorer, tmp_path: Path, change: Any, said: str) -> None:
    make_scorer(QUANTILE).save(tmp_path / "reward")
    with pytest.raises(InputError, match=said):
        ModelScorer.load(changed(tmp_path / "reward", change), "cpu")


def test_a_card_does_not_make_code_run(make_scorer: MakeScorer, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "innocent.py").write_text("raise SystemExit('this ran')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    make_scorer(QUANTILE).save(tmp_path / "reward")
    changed(tmp_path / "reward", lambda card: card["reward"].update(_target_="innocent.Kind"))
    with pytest.raises(InputError, match="innocent.Kind is outside mora"):
        ModelScorer.load(tmp_path / "reward", "cpu")


def test_pairs_are_judged_by_the_likelihood_of_the_kind(make_scorer: MakeScorer, texts: Texts) -> None:
    prompts, responses = texts
    scorer, turned = make_scorer(QUANTILE), responses[::-1]
    belief, wins_0, wins_1 = scorer.pairs(prompts, responses, turned)
    torch.testing.assert_close(wins_0.exp() + wins_1.exp(), torch.ones_like(wins_0))
    raw_0, raw_1 = scorer.outputs(prompts, responses), scorer.outputs(prompts, turned)
    torch.testing.assert_close(wins_1, QUANTILE.log_wins(raw_1, raw_0))
    torch.testing.assert_close(belief.atoms, scorer.raw([*prompts, *prompts], [*responses, *turned]).atoms)
    chosen = scorer.select(["many_b"]).pairs(prompts, responses, turned)
    torch.testing.assert_close(chosen[2], wins_1[:, 1:])
    assert chosen[0].atoms.shape[1] == 1


def test_select_reorders_and_picks(make_scorer: MakeScorer, texts: Texts) -> None:
    scorer = make_scorer(QUANTILE)
    scorer.standardize(*texts, provenance=PROVENANCE)
    whole = scorer.score(*texts).atoms
    swapped, one = scorer.select(["many_b", "many_a"]), scorer.select(["many_b"])
    assert swapped.objectives == ("many_b", "many_a") and one.objectives == ("many_b",)
    assert torch.equal(swapped.score(*texts).atoms, whole[:, [1, 0]])
    assert torch.equal(one.score(*texts).atoms, whole[:, [1]])
    assert scorer.select(["many_a", "many_b"]) is scorer
    for wrong in (["many_c"], []):
        with pytest.raises(InputError, match="the reward has many_a, many_b"):
            scorer.select(wrong)


def test_a_selection_can_be_standardized_on_its_own(make_scorer: MakeScorer, texts: Texts) -> None:
    scorer = make_scorer(SCALAR)
    one = scorer.select(["many_b"])
    assert not one.standardized
    one.standardize(*texts, provenance=PROVENANCE)
    assert one.standardized and not scorer.standardized
    assert risk.mean(one.score(*texts)).mean().abs() < 1e-4


def test_gold_scorer_scores_by_the_rules(world: Any, tmp_path: Path) -> None:
    scorer = GoldScorer(world)
    prompts, responses = ["c"] * 4, ["a a", "a b", "b b", "c"]
    belief: RewardBelief = scorer.raw(prompts, responses)
    assert belief.kind == "point"
    assert belief.atoms[..., 0].tolist() == [[2, 0], [1, 1], [0, 2], [0, 0]]
    scorer.standardize(prompts, responses, provenance=PROVENANCE)
    # Column 0 is 2, 1, 0, 0: mean 3/4, variance (4 + 1)/4 - 9/16 = 11/16.
    assert scorer.score(["c"], ["a a"]).atoms[0, 0, 0].item() == pytest.approx((2 - 0.75) / (11 / 16) ** 0.5)
    assert scorer.select(["many_b"]).raw(["c"], ["a b"]).atoms.tolist() == [[[1.0]]]
    scorer.save(tmp_path)
    loaded = GoldScorer.load(tmp_path, world)
    assert torch.equal(loaded.score(prompts, responses).atoms, scorer.score(prompts, responses).atoms)
    world.name = "another"
    with pytest.raises(InputError, match="another"):
        GoldScorer.load(tmp_path, world)


def test_an_objective_whose_zero_means_something_keeps_it(
    make_scorer: MakeScorer, texts: Texts, tmp_path: Path
) -> None:
    scorer = make_scorer(SCALAR)
    assert scorer.zero == (False, False)
    scorer.zero = (False, True)
    raw = risk.mean(scorer.raw(*texts))
    scorer.standardize(*texts, provenance=PROVENANCE)
    score = risk.mean(scorer.score(*texts))
    assert torch.equal(score[:, 1], raw[:, 1] / raw[:, 1].std(correction=0))
    assert score[:, 0].mean().item() == pytest.approx(0.0, abs=1e-5)
    scorer.save(tmp_path / "reward")
    loaded = ModelScorer.load(tmp_path / "reward", "cpu", batch_size=4)
    assert torch.equal(loaded.score(*texts).atoms, scorer.score(*texts).atoms)
    chosen = scorer.select(("many_b", "many_a"))
    assert chosen.zero == (True, False)
    assert torch.equal(risk.mean(chosen.score(*texts)), score[:, [1, 0]])
    assert chosen.standardize(*texts, provenance=PROVENANCE).shifts == (False, True)
