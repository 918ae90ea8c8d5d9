"""What ``python -m mora.score run=RUN`` says of a reward model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mora.errors import InputError
from mora.files import read_json, record_json
from mora.reward.described import described
from mora.reward.quantile import Quantile
from mora.reward.standardization import Standardization

KIND = Quantile(atoms=5, at=None, coupling="independent", initial_gap=0.1, centering=0.0)
UNITS = Standardization(
    mean=torch.tensor([-0.25, 12.5]),
    std=torch.tensor([0.5, 2.0]),
    shifted=(True, False),
    provenance={
        "run": "reward-x",
        "policy_run": "sft-y",
        "seed": "3",
        "samples": 64,
        "prompts_sha256": "0123456789abcdef",
    },
)


def test_kind_objectives_encoding_units_and_where_they_come_from(make_scorer, tmp_path):
    scorer = make_scorer(KIND)
    scorer.standardization = UNITS
    scorer.save(tmp_path / "reward")
    said = [line.split() for line in described(tmp_path / "reward").splitlines()]
    assert said == [
        ["card", str(tmp_path / "reward" / "reward.json")],
        ["kind", "mora.reward.quantile.Quantile"],
        ["fields", "atoms=5,", "at=None,", "coupling=independent,", "initial_gap=0.1,", "centering=0.0"],
        ["objectives", "many_a,", "many_b"],
        ["outputs", "per", "objective", "5"],
        ["encoding", "max_prompt=16,", "max_response=12,", "overlong=error"],
        [],
        ["objective", "mean", "std", "a", "score", "is"],
        ["many_a", "-0.25", "0.5", "(raw", "-", "mean)", "/", "std"],
        ["many_b", "12.5", "2", "raw", "/", "std"],
        [],
        ["mean", "and", "std", "of", "the", "reference", "policy's", "answers:"],
        ["run", "reward-x"],
        ["policy_run", "sft-y"],
        ["seed", "3"],
        ["samples", "64"],
        ["prompts_sha256", "0123456789ab"],
    ]


def test_columns_stand_under_each_other(make_scorer, tmp_path):
    scorer = make_scorer(KIND)
    scorer.standardization = UNITS
    scorer.save(tmp_path / "reward")
    lines = described(tmp_path / "reward").splitlines()
    head, first, second = (
        next(line for line in lines if line.startswith(name)) for name in ("objective ", "many_a", "many_b")
    )
    assert head.index("std") == first.index("0.5") == second.index("2 ")


def test_a_model_without_units_says_so_and_an_older_card_is_affine(make_scorer, tmp_path):
    make_scorer(KIND).save(tmp_path / "bare")
    assert described(tmp_path / "bare").endswith("raw until they are measured on a reference policy")
    scorer = make_scorer(KIND)
    scorer.standardization = UNITS
    scorer.save(tmp_path / "reward")
    card: Path = tmp_path / "reward" / "reward.json"
    facts = read_json(card)
    del facts["standardization"]["shifted"]
    record_json(card, facts)
    assert described(tmp_path / "reward").count("(raw - mean) / std") == 2


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"reward\.json is missing"):
        described(tmp_path)
