from __future__ import annotations

import json

import pytest
import torch
from tests.adapters import sequences, svd_lora
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from mora.errors import InputError
from mora.model.adapter import read_settings
from mora.model.stored import KINDS
from mora.model.svd_lora import AdapterState, SVDLoRA, SVDLoRAAdapter, SVDLoRALinear, Zero


def _layer(objectives: int = 3, rank: int = 4, objective_rank: int = 1, zero: Zero = "diagonal") -> SVDLoRALinear:
    torch.manual_seed(0)
    ranks = {"rank": rank, "objectives": objectives, "objective_rank": objective_rank}
    layer = SVDLoRALinear(nn.Linear(10, 7), AdapterState(), **ranks, scale=0.5)
    layer.base.requires_grad_(False)
    layer.reset(torch.Generator().manual_seed(1), None, zero)
    return layer


def _moved(**sizes) -> SVDLoRALinear:
    layer = _layer(**sizes)
    with torch.no_grad():
        layer.sigma.copy_(torch.tensor([0.5, -1.0, 2.0, 0.3])[: layer.rank])
        layer.s.fill_(1.7)
    return layer


W = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize("zero", ["diagonal", "U"])
def test_at_the_start_the_adapted_layer_is_its_base_to_the_bit(zero):
    layer, x = _layer(zero=zero), torch.randn(2, 5, 10)
    with layer.state.using(W):
        assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize("objective_rank", [1, 3])
def test_the_output_is_that_of_the_dense_update(objective_rank):
    """``W0 + scale U diag(sigma, s w) V^T`` written out for each row; an objective has its singular values together."""
    layer, x = _moved(objective_rank=objective_rank), torch.randn(2, 5, 10)
    with layer.state.using(W):
        y = layer(x)
    for row in range(2):
        weights = [W[row, objective] for objective in range(3) for _ in range(objective_rank)]
        diagonal = torch.cat([layer.sigma, layer.s * torch.stack(weights)])
        dense = layer.base.weight + 0.5 * layer.U @ torch.diag(diagonal) @ layer.V.T
        assert torch.allclose(y[row], x[row] @ dense.T + layer.base.bias, atol=1e-5)
        assert torch.allclose(layer.base.weight + layer.delta(W[row]), dense, atol=1e-6)


def test_the_output_is_linear_in_the_preference_when_only_s_moved():
    layer, x = _layer(), torch.randn(1, 5, 10).repeat(3, 1, 1)
    with torch.no_grad():
        layer.s.fill_(2.0)
    mixture = 0.3 * W[0] + 0.7 * W[1]
    with layer.state.using(torch.stack([W[0], W[1], mixture])):
        difference = (layer(x) - layer.base(x)).detach()
    assert difference.abs().amin(dim=(1, 2)).max() > 0
    assert torch.allclose(difference[2], 0.3 * difference[0] + 0.7 * difference[1], atol=1e-5)


def test_at_the_start_only_the_singular_values_have_a_gradient():
    """``dL/dsigma_j = scale u_j^T G v_j`` and ``dL/ds = scale sum_i w_i u_{k+i}^T G v_{k+i}``; U and V have none."""
    layer, x = _layer(), torch.randn(2, 5, 10)
    target = torch.randn(2, 5, 7)
    with layer.state.using(W):
        (layer(x) * target).sum().backward()
    assert not layer.U.grad.any() and not layer.V.grad.any()
    gradient = torch.einsum("bto,bti->boi", target, x)  # of the dense weight, row by row
    along = 0.5 * torch.einsum("oj,boi,ij->bj", layer.U.detach(), gradient, layer.V.detach())
    assert torch.allclose(layer.sigma.grad, along[:, :4].sum(0), atol=1e-4)
    assert torch.allclose(layer.s.grad, (along[:, 4:] * W).sum(), atol=1e-4)
    assert bool((layer.sigma.grad != 0).all()) and layer.s.grad != 0


def test_from_a_u_of_zeros_only_u_has_a_gradient():
    """``dL/du_j = scale G v_j`` of the free singular values, ``scale sum_rows w_i G_row v_j`` of an objective's."""
    layer, x = _layer(objective_rank=2, zero="U"), torch.randn(2, 5, 10)
    target = torch.randn(2, 5, 7)
    with layer.state.using(W):
        (layer(x) * target).sum().backward()
    assert not any(bool(p.grad.any()) for p in (layer.V, layer.sigma, layer.s))
    gradient = torch.einsum("bto,bti->boi", target, x)
    along = 0.5 * torch.einsum("boi,ij->boj", gradient, layer.V.detach())
    assert torch.allclose(layer.U.grad[:, :4], along[..., :4].sum(0), atol=1e-4)
    assert torch.allclose(layer.U.grad[:, 4:6], (along[..., 4:6] * W[:, :1, None]).sum(0), atol=1e-4)
    assert torch.allclose(layer.U.grad[:, 8:], (along[..., 8:] * W[:, 2:, None]).sum(0), atol=1e-4)
    assert (layer.U.grad.abs().sum(0) > 0).all()


@pytest.mark.parametrize(("rank", "objectives", "objective_rank"), [(4, 3, 1), (1, 1, 1), (2, 6, 1), (2, 3, 4)])
def test_the_number_of_trained_weights(rank, objectives, objective_rank):
    layer = _layer(rank=rank, objectives=objectives, objective_rank=objective_rank)
    trained = {name: p.numel() for name, p in layer.named_parameters() if p.requires_grad}
    assert set(trained) == {"U", "V", "sigma", "s"}
    assert sum(trained.values()) == (10 + 7) * (rank + objectives * objective_rank) + rank + 1


def test_the_start_is_drawn_with_the_standard_deviation_asked_for():
    wide = SVDLoRALinear(nn.Linear(400, 900), AdapterState(), rank=60, objectives=2, objective_rank=1, scale=1.0)
    wide.reset(torch.Generator().manual_seed(0), None, "diagonal")
    assert wide.U.std().item() == pytest.approx(900**-0.5, rel=0.02)
    assert wide.V.std().item() == pytest.approx(400**-0.5, rel=0.02)
    wide.reset(torch.Generator().manual_seed(0), 0.02, "diagonal")
    assert wide.U.std().item() == pytest.approx(0.02, rel=0.02)


def test_rows_that_do_not_fit_the_batch_and_a_missing_preference_are_errors():
    layer = _moved()
    with layer.state.using(W), pytest.raises(RuntimeError, match=r"2 preference rows for an input of shape \(7, 10\)"):
        layer(torch.randn(7, 10))
    with layer.state.using(W), pytest.raises(RuntimeError, match=r"an input of shape \(4, 3, 10\)"):
        layer(torch.randn(4, 3, 10))
    with pytest.raises(RuntimeError, match="without a preference"):
        layer(torch.randn(2, 10))


def test_the_tokens_of_a_flattened_batch_are_at_the_preferences_of_their_rows():
    layer, x = _moved(), torch.randn(2, 4, 10)
    with layer.state.using(W):
        assert torch.allclose(layer(x.reshape(8, 10)).reshape(2, 4, -1), layer(x), atol=1e-6)


def test_the_state_comes_back_after_a_block_even_when_it_fails():
    state = AdapterState()
    with state.using(W):
        with pytest.raises(KeyError), state.off():
            assert not state.enabled and state.rows is None
            raise KeyError
        assert state.rows is W and state.enabled
    assert state.rows is None and state.enabled


def test_the_preference_enters_no_state_dict_and_no_parameter():
    layer = _moved()
    with layer.state.using(W):
        assert set(layer.state_dict()) == {"U", "V", "sigma", "s", "base.weight", "base.bias"}
        assert not list(layer.buffers())


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("head", [True, False])
def test_attach_freezes_the_model_and_trains_only_the_factors(make_policy, kind, head):
    policy = make_policy(kind, head=head)
    trained = {name for name, p in policy.model.named_parameters() if p.requires_grad}
    assert trained and {name.rsplit(".", 1)[-1] for name in trained} == {"U", "V", "sigma", "s"}
    expected = 0
    for layer in policy.adapter.layers.values():
        expected += (layer.base.in_features + layer.base.out_features) * (3 + 2) + 3 + 1
    assert sum(p.numel() for p in policy.model.parameters() if p.requires_grad) == expected
    assert len(policy.adapter.layers) == 2 * 7 + head  # q k v o gate up down in each of two blocks
    listed = [*policy.adapter.factors(), *policy.adapter.singular_values()]
    assert {id(p) for p in listed} == {id(p) for p in policy.model.parameters() if p.requires_grad}


def test_the_preference_is_in_no_state_dict_of_the_policy(make_policy, simplex):
    policy = make_policy()
    before = set(policy.state_dict())
    with policy.adapter.using(simplex(4)):
        assert set(policy.state_dict()) == before
        assert not [name for name in policy.state_dict() if "rows" in name or "preference" in name]
        assert set(policy.adapter.state_dict()) == {
            f"{path}.{name}" for path in policy.adapter.layers for name in ("U", "V", "sigma", "s")
        }


class Named(nn.Module):
    """Linears whose names hold one another."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.seq_proj, self.q_proj_norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.q_proj_block = nn.ModuleDict({"inner": nn.Linear(4, 4)})

    def get_output_embeddings(self) -> None:
        return None

    def get_encoder(self, modality: str) -> nn.Module:
        return self


def _named(targets: list[str]) -> SVDLoRA:
    return svd_lora(rank=1, targets=targets)


def test_targets_are_matched_on_the_whole_last_part_of_the_path():
    assert set(_named(["q_proj"]).attach(Named(), ["a", "b"], seed=0).layers) == {"q_proj"}
    assert set(_named(["inner", "seq_proj"]).attach(Named(), ["a", "b"], seed=0).layers) == {
        "q_proj_block.inner",
        "seq_proj",
    }


def test_a_target_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"adapter.targets: no Linear named \['proj'\]"):
        _named(["q_proj", "proj"]).attach(Named(), ["a", "b"], seed=0)


def test_a_model_without_linear_blocks_is_refused():
    """GPT-2's blocks are made of Conv1D: adapting only its LM head in silence would be a trap."""
    config = AutoConfig.for_model("gpt2", vocab_size=20, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1)
    model = AutoModelForCausalLM.from_config(config)
    settings = svd_lora(rank=1, head=True)
    with pytest.raises(InputError, match="hold no Linear to adapt but Conv1D"):
        settings.attach(model, ["a", "b"], seed=0)


def test_the_same_seed_draws_the_same_start(make_policy):
    one, two = make_policy(moved=False), make_policy(moved=False)
    assert all(torch.equal(a, b) for a, b in zip(one.adapter.factors(), two.adapter.factors(), strict=True))


def test_saving_and_loading_gives_the_adapter_back(make_policy, tmp_path):
    policy, other = make_policy(), make_policy(moved=False)
    policy.adapter.save(tmp_path, base="somewhere/base")
    found = read_settings(tmp_path, KINDS)
    assert found == (policy.adapter.settings, list(policy.adapter.objectives), "somewhere/base")
    other.adapter.load(tmp_path)
    for name, tensor in policy.adapter.state_dict().items():
        assert torch.equal(other.adapter.state_dict()[name], tensor)


def test_an_adapter_of_another_model_is_refused(make_policy, tmp_path):
    make_policy().adapter.save(tmp_path, base="base")
    with pytest.raises(InputError, match="does not fit this model"):
        make_policy(objectives=3).adapter.load(tmp_path)
    with pytest.raises(InputError, match="does not fit this model"):
        make_policy(head=False).adapter.load(tmp_path)


def test_settings_that_cannot_be_read_are_refused(make_policy, tmp_path):
    with pytest.raises(InputError, match="adapter.json"):
        read_settings(tmp_path, KINDS)
    make_policy().adapter.save(tmp_path, base="base")
    stored = json.loads((tmp_path / "adapter.json").read_text())
    for broken in ({k: v for k, v in stored.items() if k != "base"}, stored | {"rnk": 3}):
        (tmp_path / "adapter.json").write_text(json.dumps(broken))
        with pytest.raises(InputError, match="holds no adapter that can be read"):
            read_settings(tmp_path, KINDS)


def _gradients(policy, ids, mask, weights, *, reference_between: bool) -> dict[str, torch.Tensor]:
    policy.train()
    policy.zero_grad()
    logps = policy(
        sequences(ids, mask, weights, response=5)
    ).logps  # the block of the adapter ends here, before the backward pass
    if reference_between:
        policy.reference(sequences(ids, mask, response=5))
        policy(sequences(ids, mask, weights.flip(0), response=5))  # and a pass at other preferences
    logps.sum().backward()
    return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("reference_between", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_recomputation_sees_the_state_of_its_own_forward(make_policy, make_prompts, simplex, kind, reference_between):
    prompts, weights = make_prompts(6), simplex(6)
    expected = _gradients(make_policy(kind), prompts.ids, prompts.mask, weights, reference_between=False)
    policy = make_policy(kind, checkpointing=True)
    found = _gradients(policy, prompts.ids, prompts.mask, weights, reference_between=reference_between)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()) + 1e-7), name


def test_checkpointing_really_recomputes(make_policy, make_prompts, simplex):
    prompts, policy = make_prompts(2), make_policy(checkpointing=True)
    calls = []
    block = policy.adapter.layers["model.layers.0.mlp.up_proj"]
    block.register_forward_hook(lambda *_: calls.append(block.state.rows))
    _gradients(policy, prompts.ids, prompts.mask, simplex(2), reference_between=False)
    assert len(calls) == 2 and torch.equal(calls[0], calls[1])


def test_a_model_without_an_adapter_state_fails_loudly(make_policy, make_prompts):
    policy = make_policy()
    with pytest.raises(RuntimeError, match="without a preference"):
        policy.model(input_ids=make_prompts(1).ids)


def test_checkpointing_is_switched_on_through_the_model(make_policy):
    policy = make_policy()
    assert isinstance(policy.adapter, SVDLoRAAdapter)
    policy.adapter.recompute(policy.model)
    assert policy.model.is_gradient_checkpointing
