"""Models whose passes disagree are told, each by the check that is made for it; sound ones pass."""

from __future__ import annotations

import pytest
import torch
from tests.chain import chain_options
from tests.model.architectures import KEY, OBJECTIVES, made, settings
from tests.model.conftest import tiny_model
from torch.nn.functional import linear

import mora
from mora.errors import InputError
from mora.model.adapter import linear_targets
from mora.model.agreement import check_adapter, check_modes, check_policy, check_targets, check_trunk
from mora.model.features import width_of_causal, width_of_trunk
from mora.model.load import load_backbone, load_causal
from mora.train import train


def passes(model, change):
    """``model`` with the arguments of every pass changed."""
    forward = model.forward

    def changed(**given):
        return forward(**change(given, model))

    model.forward = changed
    return model


def attentive(given, model):
    return given | {"attention_mask": torch.ones_like(given["attention_mask"])}


def forgetful(given, model):
    """Every step with a cache reads the position of the one before."""
    cached = given["use_cache"] and given["input_ids"].shape[1] == 1
    return given | {"position_ids": given["position_ids"] - 1} if cached else given


def noisy(given, model):
    if model.training:
        given["position_ids"] = given["position_ids"] * 2
    return given


def test_a_sound_model_passes_everything_and_is_left_as_it_was():
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    check_modes(model)
    check_policy(model)
    check_trunk(model.base_model)
    check_targets(model, linear_targets(model, ["all-linear"], head=True, key=KEY), key=KEY, by_row=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    check_adapter(model, settings("all-linear", head=True), OBJECTIVES, key=KEY)


@pytest.mark.parametrize(
    ("change", "check", "what"),
    [
        (attentive, check_policy, "padding on the left"),
        (forgetful, check_policy, "its cache"),
        (noisy, check_modes, "training mode"),
    ],
)
def test_a_pass_that_differs_is_named(change, check, what):
    with pytest.raises(InputError, match=f"LlamaForCausalLM: {what} changes"):
        check(passes(tiny_model(), change))


def test_a_trunk_that_reads_padding_is_named():
    check_trunk(tiny_model().base_model)
    with pytest.raises(InputError, match="LlamaModel: padding on the left changes what a reward head reads"):
        check_trunk(passes(tiny_model().base_model, attentive))


def test_code_that_fails_is_told_of_the_model():
    model = tiny_model()
    model.model.layers[0].forward = lambda *given, **more: 1 / 0
    with pytest.raises(InputError, match="LlamaForCausalLM cannot be run on a padded batch"):
        check_policy(model)


def mlp(model, forward):
    model.model.layers[1].mlp.forward = forward
    return model


def reads(model):
    part = model.model.layers[1].mlp
    return mlp(model, lambda x: part.down_proj(linear(x, part.gate_proj.weight) * part.up_proj(x)))


def routes(model):
    """Hands some tokens to a layer, as a mixture of experts does."""
    part = model.model.layers[1].mlp

    def some(x):
        first, rest = x.flatten(0, 1).split([x.shape[0], x.shape[0] * (x.shape[1] - 1)])
        return torch.cat([part.down_proj(part.gate_proj(first) * part.up_proj(first)), rest]).view_as(x)

    return mlp(model, some)


def permutes(model):
    """Flattens token by token instead of row by row."""
    part = model.model.layers[1].mlp

    def transposed(x):
        flat = x.transpose(0, 1).flatten(0, 1)
        out = part.down_proj(part.gate_proj(flat) * part.up_proj(flat))
        return out.view(x.shape[1], x.shape[0], -1).transpose(0, 1)

    return mlp(model, transposed)


@pytest.mark.parametrize(
    ("broken", "advice"),
    [
        (reads, r"reads the weights of gate_proj itself.*use adapter.targets=\[down_proj,k_proj,o_proj,q_proj"),
        (routes, r"weights of down_proj, gate_proj, up_proj itself, or calls them with some tokens only"),
        (permutes, "another preference in the batch changes its log-probabilities"),
    ],
)
def test_a_layer_that_an_adapter_does_not_fit_is_named_with_those_that_it_does(broken, advice):
    with pytest.raises(InputError, match=advice):
        check_adapter(broken(tiny_model()), settings("all-linear", head=True), OBJECTIVES, key=KEY)


def test_a_head_whose_weight_is_read_is_left_out():
    model = tiny_model()
    forward = model.forward

    def cast(**given):
        assert model.lm_head.weight.dtype == torch.float32
        return forward(**given)

    model.forward = cast
    with pytest.raises(InputError, match=r"weights of lm_head itself.*use adapter\.head=false"):
        check_adapter(model, settings("all-linear", head=True), OBJECTIVES, key=KEY)


def test_the_width_of_features_is_asked_of_the_model(tmp_path):
    made("opt", tmp_path)  # projects its features from 32 to 16
    assert (width_of_trunk(load_backbone(tmp_path)), width_of_causal(load_causal(tmp_path))) == (16, 16)
    made("gemma3", tmp_path / "nested")  # has no hidden_size of its own
    assert width_of_causal(load_causal(tmp_path / "nested")) == 32


@pytest.mark.parametrize(("kind", "message"), [("gpt2", "Conv1D"), ("rwkv", "Rwkv.*: padding on the left")])
def test_a_chain_that_could_not_end_is_refused_before_its_first_stage(tmp_path, kind, message):
    given = [*chain_options(tmp_path / "runs"), f"model.config.model_type={kind}", "model.attention=eager"]
    given += ["model.config.num_hidden_layers=2"]  # transformers makes no Rwkv of one
    with pytest.raises(InputError, match=message):
        train(mora.compose(*given), given)
    assert not list((tmp_path / "runs").glob("*-*"))
