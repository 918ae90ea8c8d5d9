"""Before and after a reward model is trained: how it reads texts, the trunks under its heads, its units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mora.dataset.encode import Encoder
from mora.model.backbones import Layout, Sharing, TrunkSource
from mora.model.features import Pooling
from mora.model.load import ModelSpec, load_tokenizer
from mora.model.lora import LoRASettings
from mora.model.place import find
from mora.model.score_model import ScoreModel, read_card
from mora.reward import HeadKind
from mora.reward.scorer import ModelScorer
from mora.runtime.actor import standardize
from mora.runtime.console import say
from mora.runtime.context import Context
from mora.runtime.conversion import check_convertible

Trunk = Literal["policy", "base", "reward"]  # what a trunk starts as: the policy, its base, or another reward's trunk


def trunk_encoder(context: Context, tokenizer: PreTrainedTokenizerBase) -> Encoder:
    """How the reward model reads texts: by the tokenizer of its trunk.

    Raises InputError for a reward run of several trunks.
    """
    if context.trunk_folder is None:
        return context.encoder(tokenizer)
    check_convertible(context.trunk_folder)
    return context.encoder(load_tokenizer(context.trunk_folder, stored=True))


def layout_of(kind: HeadKind, sharing: Sharing, lora: LoRASettings) -> Layout:
    """What objectives share (``sharing``) and what members do, with the shape of adapters where there are some."""
    members = kind.member_sharing
    return Layout(objectives=sharing, members=members, lora=lora if "lora" in (sharing, members) else None)


def new_score_model(context: Context, encoder: Encoder, *, trunk: Trunk, layout: Layout, frozen: bool) -> ScoreModel:
    """Fresh heads of the run's reward kind on trunks, adapted or apart as ``layout`` says, on the run's device.

    ``frozen``: the trunk stays as it is.  Raises InputError for a trunk that cannot read the run's texts.
    """
    assert isinstance(context.reward, HeadKind)
    start = _Start(context=context, encoder=encoder, trunk=trunk, layout=layout, frozen=frozen)
    model = ScoreModel.new(
        start.load,
        encoder.tokenizer,
        context.reward,
        objectives=context.corpus.objectives,
        seed=context.seed,
        layout=layout,
        pooling=start.pooling,
        source=start.source,
    )
    model.to(context.runtime.device).eval().check_padding()
    if frozen:
        model.backbones.requires_grad_(False)
    if context.model.gradient_checkpointing:
        model.backbones.checkpoint_activations()
    return model


def standardize_trained(
    context: Context, scorer: ModelScorer, tokenizer: PreTrainedTokenizerBase, *, prompts: int, samples: int
) -> None:
    """Put scores into units of the reference policy, which is loaded now: training does without it.

    Statistics come from ``samples`` answers to each of ``prompts`` training prompts.  Of no prompt, or where the model
    is an encoder and there is no policy, none are taken: what trains a policy on these scores measures their units.
    """
    if context.model.encoder or not prompts:
        scorer.model.eval()
        why = "an encoder answers nothing" if context.model.encoder else "algo.reference_prompts=0"
        say(f"{context.folder.id}: {why}, so scores keep their unit; a run that trains a policy measures it")
        return
    context.runtime.at("the answers that set the units of the reward", long=True)
    if not scorer.model.layout.adapted:  # the trunks were trained
        context.model.finish(scorer.model.backbones)
    scorer.model.eval()
    policy = context.starting_weights(tokenizer, frozen=True).eval()
    standardize(context, scorer, policy, context.encoder(tokenizer), prompts=prompts, samples=samples)


@dataclass(frozen=True, kw_only=True)
class _Start:
    context: Context
    encoder: Encoder
    trunk: Trunk
    layout: Layout
    frozen: bool

    def load(self) -> PreTrainedModel:
        """A trunk: in fp32 where it is trained, else as the model says; quantized only under adapters."""
        context, source = self.context, self.source
        made: Any
        if source is not None:
            made = source.load()
        else:  # the base is made once more: the policy's own weights stay the reference
            made = self._spec.build(self.encoder.tokenizer, seed=context.seed).base_model
        context.check_reach(made, self.encoder.tokenizer, "model.config" if source is None else str(source.path))
        return made

    @property
    def source(self) -> TrunkSource | None:
        """Where trunks are loaded from; None for a base that is made from its configuration."""
        context, spec = self.context, self._spec
        path = {"policy": context.policy, "base": None, "reward": context.trunk_folder}[self.trunk] or spec.path
        if path is None:
            return None
        revision = find(str(path), spec.revision if path == spec.path else None, "model.path")
        return TrunkSource(
            path=str(path),
            revision=revision,
            dtype=spec.dtype,
            quantization=spec.quantization,
            attention=spec.attention,
        )

    @property
    def pooling(self) -> Pooling:
        """What heads read of the trunk: what they read of it before, where it is converted."""
        if self.trunk == "reward" and self.context.trunk_folder is not None:
            known: Pooling = read_card(self.context.trunk_folder, ("pooling",))["pooling"]
            return known
        return "mean" if self.context.model.encoder else "last"

    @property
    def _spec(self) -> ModelSpec:
        """How trunks are held."""
        spec = self.context.model
        if self.layout.adapted:
            return spec
        return replace(spec, quantization=None) if self.frozen else spec.trained
