"""What algorithms that train a policy share: the policy itself, the reward in standard units, the result."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mora.dataset.encode import Encoder
from mora.files import new_folder, write_json
from mora.functional.lagrangian import Lagrangian
from mora.model.features import width_of_causal
from mora.model.policy import Critic, Policy
from mora.model.stored import STANDARDIZATION, base_reference
from mora.reward.reference import reference_prompts
from mora.reward.scorer import Scorer
from mora.runtime.console import say
from mora.runtime.context import Context
from mora.runtime.sampling import Samples, sample_reference

FEW = 10  # effective answers to a prompt, below which a dual over reference answers is told to be biased


def trainable(context: Context, model: PreTrainedModel, *, critic_width: int | None) -> Policy:
    """``model`` with what the run's adapter trains of it, ready to be trained, on the run's device.

    At first it is its own reference, bit for bit.  A critic, where ``critic_width`` asks for one, has an output for
    each stream of the scalarizer.
    """
    assert context.adapter is not None
    objectives = list(context.corpus.objectives)
    hidden = width_of_causal(model) if critic_width is not None else None
    attached = context.adapter.attach(model, objectives, seed=context.seed)
    if context.model.gradient_checkpointing:
        attached.recompute(model)
    critic = None
    if hidden is not None and critic_width is not None:
        assert context.scalarize is not None
        critic = Critic(hidden, len(objectives), context.scalarize.count(len(objectives)), critic_width)
        critic.reset(torch.Generator().manual_seed(context.seed))
    floored = _floored(context) if context.adapter.steered else []
    return Policy(model, attached, critic, floored=floored).to(context.runtime.device)


def _floored(context: Context) -> list[int]:
    """Objectives that steer nothing, by place: those with a floor."""
    assert context.scalarize is not None
    steered = context.scalarize.steered(context.corpus.objectives)
    return [place for place in range(len(context.corpus.objectives)) if place not in steered]


def standardize(
    context: Context, scorer: Scorer, model: PreTrainedModel, encoder: Encoder, *, prompts: int, samples: int
) -> Scorer:
    """Give ``scorer`` the units of the reference policy ``model``, in place; returns it.

    Statistics come from ``samples`` answers to each of ``prompts`` training prompts (``reference_prompts``).
    """
    answers = _reference_answers(context, model, encoder, prompts=prompts, samples=samples)
    if context.runtime.main:  # every process scores the same answers: they count once
        context.usage.scored(scorer, len(answers.texts))
    provenance = dict(context.provenance) | {"seed": str(context.seed)}
    scorer.standardize(answers.prompts, answers.texts, provenance, sampled=answers.sampled)
    return scorer


def _reference_answers(
    context: Context, model: PreTrainedModel, encoder: Encoder, *, prompts: int, samples: int
) -> Samples:
    answers = sample_reference(
        model,
        encoder,
        reference_prompts(context.corpus.prompts["train"], prompts),
        samples=samples,
        seed=context.seed,
        batch_size=context.runtime.sample_batch or prompts * samples,
        device=context.runtime.device,
    )
    if context.runtime.main:  # every process draws the same answers: they count once
        context.usage.sampled(answers.mask)
    return answers


def standardized_scorer(
    context: Context, model: PreTrainedModel, encoder: Encoder, *, prompts: int, samples: int, shift: bool = True
) -> Scorer:
    """The run's reward in units of the reference policy; a reward that comes with statistics keeps them.

    Without ``shift`` a reward of 0 stays 0: it is divided and nothing is subtracted.
    """
    scorer = context.scorer()
    if not scorer.standardized:
        standardize(context, scorer, model, encoder, prompts=prompts, samples=samples)
    if not shift:
        assert scorer.standardization is not None
        scorer.standardization = scorer.standardization.scale_only()
    return scorer


def solve_multipliers(
    context: Context,
    scorer: Scorer,
    model: PreTrainedModel,
    encoder: Encoder,
    *,
    prompts: int,
    samples: int,
    kl_coef: float,
) -> None:
    """Where ``scalarize.from_reference`` asks for it, find the first multipliers from answers of the reference policy.

    ``model`` is that policy, and answers are those of :func:`standardize`.  Raises as :meth:`Lagrangian.solve`.
    """
    scalarize = context.scalarize
    if not isinstance(scalarize, Lagrangian) or not scalarize.from_reference:
        return
    assert context.preference is not None and context.risk is not None
    answers = _reference_answers(context, model, encoder, prompts=prompts, samples=samples)
    rewards = context.risk(scorer.score(answers.prompts, answers.texts, answers.sampled))
    fixed, row = None, torch.zeros(1, dtype=torch.int64)
    if context.preference.fixed:
        fixed = context.preference(row, row, row, len(scorer.objectives), seed=context.seed, step=0)[0]
    if context.runtime.main:
        context.usage.scored(scorer, len(answers.texts))
    effective = scalarize.solve(rewards.view(-1, samples, rewards.shape[-1]), fixed, kl_coef=kl_coef)
    found = ", ".join(f"{name} {value:.3g}" for name, value in scalarize.metrics().items())
    say(f"{context.folder.id}: multipliers from {len(answers.texts)} answers of the reference policy: {found}")
    if effective < FEW:
        say(
            f"{context.folder.id}: their optimum rests on {effective:.1f} of {samples} answers to a prompt, so these "
            "multipliers are too large; draw more (algo.reference_samples)"
        )


def save_policy(context: Context, policy: Policy, tokenizer: PreTrainedTokenizerBase, scorer: Scorer) -> None:
    """Write ``policy/``: what was trained, the tokenizer, and the units of the reward that it was trained on."""
    assert context.adapter is not None
    if context.adapter.whole:
        context.model.finish(policy.model)
    if context.runtime.main:
        assert scorer.standardization is not None
        with new_folder(context.folder.path / "policy", sealed=True) as folder:
            policy.adapter.save(folder, base=base_reference(context.policy or context.model.path or "", folder))
            tokenizer.save_pretrained(folder)
            facts = {"objectives": list(scorer.objectives), **scorer.standardization.facts()}
            if policy.floored:
                facts["floored"] = [scorer.objectives[place] for place in policy.floored]
            write_json(folder / STANDARDIZATION, facts)
    context.runtime.barrier()
