"""What a command is said to take: tokens counted by hand, and a line for each stage before the first one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mora.dataset.encode import Encoder
from mora.model.tokenizer import train_bpe
from mora.run import trial
from mora.run.build import build, load_corpus
from mora.run.estimate import Pace, Work, paced, work_of
from mora.run.plan import plan
from mora.runtime.devices import Runtime
from mora.settings.compose import compose

SMALL = ("dataset.supervised.train=40", "dataset.pairs.train=24", "dataset.topics.train=12")


@pytest.fixture
def stages(tmp_path):
    """The stages of a small plan by algorithm, with corpus and encoder."""
    overrides = [f"paths.runs={tmp_path}", "evaluation.prompts=3", "evaluation.samples=5", "algo.steps=7"]
    overrides += ["algo.rollout.prompts=4", "algo.rollout.samples=2", "algo.minibatches=2", "algo.epochs=3"]
    found = plan(compose("train", overrides), overrides)
    corpus = load_corpus(found[-1].config)
    encoder = Encoder(train_bpe(corpus.tokenizer_texts(), 600), corpus.max_prompt, corpus.max_response, "cut_answer")
    return {stage.algo: stage for stage in found}, corpus, encoder


def test_rollouts_are_counted_with_the_answers_that_are_measured(stages):
    by_name, corpus, encoder = stages
    length = np.mean([len(encoder.prompt(row.prompt)) for row in corpus.prompts["train"]]) + corpus.max_response
    work = work_of(by_name["panacea"], corpus, encoder)
    measured = (11 + 1) * 3 * 5  # preferences and the reference, prompts, samples
    assert work.steps == 7 and work.sampled == (7 * 8 + measured) * corpus.max_response
    assert work.trained == pytest.approx(7 * 8 * 3 * length, rel=0.05)  # of a hundred prompts
    assert work.read == pytest.approx(2 * (7 * 8 + measured) * length, rel=0.05)


@pytest.mark.parametrize(("algo", "kind", "sequences"), [("sft", "supervised", 1), ("reward_model", "pairs", 2)])
def test_rows_are_counted_with_their_prompts(stages, algo, kind, sequences):
    by_name, corpus, encoder = stages
    stage, rows = by_name[algo], getattr(corpus, kind)["train"]
    assert len(rows[0].responses) == sequences
    tokens = np.mean([
        sum(len(encoder.prompt(row.prompt)) + len(encoder.response(text)) for text in row.responses) for row in rows
    ])  # fmt: skip
    work, batch = work_of(stage, corpus, encoder), stage.config["algo"]["batch_size"]
    assert work.steps == max(round(stage.config["algo"]["epochs"] * len(rows) / batch), 1)
    assert work.trained == pytest.approx(work.steps * batch * tokens, rel=0.05)


def test_an_algorithm_with_settings_of_its_own_has_no_estimate(stages):
    by_name, corpus, encoder = stages
    stage = by_name["sft"]
    del stage.config["algo"]["batch_size"]
    assert work_of(stage, corpus, encoder) is None


def test_processes_share_the_work():
    pace, work = Pace(sampled=1.0, read=0.1, trained=0.5), Work(steps=1, sampled=10, read=100, trained=20)
    assert pace.seconds(work, 1, whole=False) == 30.0 and pace.seconds(work, 2, whole=False) == 15.0
    assert pace.seconds(work, 1, whole=True) == 32.0  # the gradients of 20 tokens' weights
    alone = replace(work, alone=5.0)  # what every process samples is not shared
    assert pace.seconds(alone, 2, whole=False) == 20.0


def test_a_pace_leaves_the_model_as_it_was(stages):
    config = stages[0]["sft"].config
    model, runtime = build(config["model"]).made(96, (0, 1, 2), seed=0), build(config["runtime"])
    assert isinstance(runtime, Runtime)
    model.lm_head.weight.requires_grad_(False)
    before = {name: (p.detach().clone(), p.requires_grad) for name, p in model.named_parameters()}
    found = paced(model, runtime)
    assert 0 < found.read < found.trained
    for name, parameter in model.named_parameters():
        assert parameter.grad is None and (parameter == before[name][0]).all()
        assert parameter.requires_grad == before[name][1]


def test_every_stage_is_told_before_the_first(stages, monkeypatch, capsys):
    monkeypatch.setattr(trial, "LARGE", 1)
    todo = list(stages[0].values())
    trial.try_models(todo, build(todo[0].config["runtime"]))
    lines = [line for line in capsys.readouterr().err.splitlines() if "on this machine, roughly" in line]
    assert [line.split("roughly: ")[1].split(":")[0] for line in lines] == ["sft", "reward_model", "panacea"]
    assert "7 steps" in lines[-1] and "tokens trained: about" in lines[-1] and "GiB" in lines[-1]
