"""What algorithms that train a policy share: the policy itself, the reward in standard units, the result."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mora.dataset.encode import Encoder
from mora.files import new_folder, write_json
from mora.model.features import width_of_causal
from mora.model.policy import Critic, Policy
from mora.model.stored import STANDARDIZATION, base_reference
from mora.reward.panel import Panel
from mora.reward.reference import reference_prompts
from mora.runtime.parts import Parts
from mora.runtime.sampling import sample_reference


def trainable(parts: Parts, model: PreTrainedModel, *, critic_width: int | None) -> Policy:
    """``model`` with what the run's adapter trains of it, ready to be trained, on the run's device.

    At first it is its own reference, bit for bit.  A critic, where ``critic_width`` asks for one, has an output for
    each stream of the scalarizer.
    """
    assert parts.adapter is not None
    objectives = list(parts.corpus.objectives)
    hidden = width_of_causal(model) if critic_width is not None else None
    attached = parts.adapter.attach(model, objectives, seed=parts.seed)
    if parts.model.gradient_checkpointing:
        attached.recompute(model)
    critic = None
    if hidden is not None and critic_width is not None:
        assert parts.scalarize is not None
        critic = Critic(hidden, len(objectives), parts.scalarize.count(len(objectives)), critic_width)
        critic.reset(torch.Generator().manual_seed(parts.seed))
    return Policy(model, attached, critic).to(parts.runtime.device)


def standardize(
    parts: Parts, panel: Panel, model: PreTrainedModel, encoder: Encoder, *, prompts: int, samples: int
) -> Panel:
    """Give ``panel`` the units of the reference policy ``model``, in place; returns it.

    Statistics come from ``samples`` answers to each of ``prompts`` training prompts (``reference_prompts``).
    """
    answers = sample_reference(
        model,
        encoder,
        reference_prompts(parts.corpus.prompts["train"], prompts),
        samples=samples,
        seed=parts.seed,
        batch_size=parts.runtime.sample_batch or prompts * samples,
        device=parts.runtime.device,
    )
    if parts.runtime.main:  # every process draws and scores the same answers: they count once
        parts.spent.sampled(answers.mask)
        parts.spent.scored(panel, len(answers.texts))
    provenance = dict(parts.provenance) | {"seed": str(parts.seed)}
    panel.standardize(answers.prompts, answers.texts, provenance, sampled=answers.sampled)
    return panel


def standardized_panel(
    parts: Parts, model: PreTrainedModel, encoder: Encoder, *, prompts: int, samples: int, shift: bool = True
) -> Panel:
    """The run's reward in units of the reference policy; a reward that comes with statistics keeps them.

    Without ``shift`` a reward of 0 stays 0: it is divided and nothing is subtracted.
    """
    panel = parts.panel()
    if not panel.standardized:
        standardize(parts, panel, model, encoder, prompts=prompts, samples=samples)
    if not shift:
        assert panel.standardization is not None
        panel.standardization = panel.standardization.scale_only()
    return panel


def save_policy(parts: Parts, policy: Policy, tokenizer: PreTrainedTokenizerBase, panel: Panel) -> None:
    """Write ``policy/``: what was trained, the tokenizer, and the units of the reward that it was trained on."""
    assert parts.adapter is not None
    if parts.adapter.whole:
        parts.model.finish(policy.model)
    if parts.runtime.main:
        assert panel.standardization is not None
        with new_folder(parts.folder.path / "policy", sealed=True) as folder:
            policy.adapter.save(folder, base=base_reference(parts.policy or parts.model.path or "", folder))
            tokenizer.save_pretrained(folder)
            facts = {"objectives": list(panel.objectives), **panel.standardization.facts()}
            write_json(folder / STANDARDIZATION, facts)
    parts.runtime.barrier()
