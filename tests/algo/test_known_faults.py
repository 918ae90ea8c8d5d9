"""What the mutation campaign found no test for."""

from __future__ import annotations

import torch

from mora.functional.risk import mean
from mora.reward.panel import ModelPanel
from mora.runtime.rollout import sample_reference

SMALL = (
    "algo.steps=2",
    "algo.epochs=null",
    "algo.batch_size=8",
    "algo.reference_prompts=8",
    "algo.reference_samples=3",
)


def test_a_learned_reward_is_measured_on_answers_of_the_policy_that_will_be_trained(make):
    """Those answers, drawn again and scored by the stored model, have mean 0 and deviation 1 on every objective."""
    algo = make("reward_model", *SMALL)
    algo.fit()
    policy, tokenizer = algo.parts.starting_model(frozen=True)
    samples = sample_reference(
        policy.eval(),
        algo.parts.encoder(tokenizer),
        algo.parts.corpus.prompts["train"][:8],
        samples=3,
        seed=algo.parts.seed,
        batch_size=24,
        device=torch.device("cpu"),
    )
    panel = ModelPanel.load(algo.parts.folder.path / "reward", "cpu")
    scores = mean(panel.score(samples.prompts, samples.texts))
    assert scores.shape == (24, 2)
    assert torch.allclose(scores.mean(0), torch.zeros(2), atol=1e-3)
    assert torch.allclose(scores.std(0, correction=0), torch.ones(2), atol=1e-3)
