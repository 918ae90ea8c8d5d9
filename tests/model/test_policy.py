from __future__ import annotations

import copy

import pytest
import torch
from tests.adapters import sequences

from mora.errors import InputError
from mora.model import policy as shipped
from mora.model.generate import Sampling
from mora.model.policy import entropy, token_logps
from mora.types import Sequences

EOS, PAD, T = 1, 2, 6


def _sequences(prompts):
    """Prompts on the left, answers of 1 to 6 tokens on the right: ids (B, L), mask (B, L), response (B, T)."""
    generator = torch.Generator().manual_seed(2)
    rows = len(prompts.ids)
    lengths = torch.arange(rows) % T + 1
    response = torch.arange(T)[None, :] < lengths[:, None]
    tokens = torch.where(response, torch.randint(3, 61, (rows, T), generator=generator), PAD)
    return torch.cat([prompts.ids, tokens], 1), torch.cat([prompts.mask, response], 1), response


def _loss(policy, ids, mask, weights, response, coefficients):
    """A sum of per-row losses on both outputs; the coefficients differ from token to token."""
    output = policy(sequences(ids, mask, weights, response=response.shape[1]))
    keep = response.float() * coefficients[:, : response.shape[1]]
    return output, -(output.logps * keep).sum() + (output.values.sum(-1) * keep).square().sum()


def _alone(ids, mask, response, row):
    """A row without any padding."""
    keep = mask[row]
    return ids[row : row + 1, keep], mask[row : row + 1, keep], response[row : row + 1, response[row]]


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize(("kind", "tied"), [("llama", False), ("llama", True), ("qwen2", True)])
def test_eleven_preferences_in_one_batch_are_what_each_is_alone(
    make_policy, make_prompts, simplex, kind, tied, checkpointing
):
    """Log-probabilities, values and gradients; padding on both sides in the batch, none alone."""
    policy = make_policy(kind, tied=tied, checkpointing=checkpointing).train()
    ids, mask, response = _sequences(make_prompts(11))
    weights = simplex(11)
    coefficients = torch.randn(11, T, generator=torch.Generator().manual_seed(4))
    together, loss = _loss(policy, ids, mask, weights, response, coefficients)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    assert {name.rsplit(".", 1)[-1] for name in gradients} >= {"U", "V", "sigma", "s"}
    policy.zero_grad()
    for row in range(11):
        one, one_mask, one_response = _alone(ids, mask, response, row)
        output, loss = _loss(policy, one, one_mask, weights[row : row + 1], one_response, coefficients[row : row + 1])
        assert (output.logps[0] - together.logps[row, response[row]]).abs().max() < 1e-5
        assert (output.values[0] - together.values[row, response[row]]).abs().max() < 1e-5
        loss.backward()
    for name, parameter in policy.named_parameters():
        if parameter.grad is not None:
            scale = max(1.0, float(parameter.grad.abs().max()))
            assert (parameter.grad - gradients[name]).abs().max() < 1e-5 * scale, name


def test_different_preferences_give_different_log_probabilities(make_policy, make_prompts, simplex):
    """Without this the comparison above would hold for a model that ignores its preference."""
    policy = make_policy()
    ids, mask, response = _sequences(make_prompts(1))
    ids, mask = ids.repeat(5, 1), mask.repeat(5, 1)
    logps = policy(sequences(ids, mask, simplex(5), response=T)).logps[:, 0]
    assert logps.unique().numel() == 5


def test_at_the_start_the_policy_is_its_reference_to_the_bit(make_policy, make_prompts, simplex):
    policy = make_policy(moved=False)
    ids, mask, _ = _sequences(make_prompts(4))
    assert torch.equal(
        policy(sequences(ids, mask, simplex(4), response=T)).logps, policy.reference(sequences(ids, mask, response=T))
    )


def test_the_reference_is_the_base_model_whatever_was_trained(make_policy, make_prompts):
    policy, untouched = make_policy(), make_policy(moved=False)
    ids, mask, _ = _sequences(make_prompts(4))
    assert torch.equal(
        policy.reference(sequences(ids, mask, response=T)), untouched.reference(sequences(ids, mask, response=T))
    )
    assert not policy.reference(sequences(ids, mask, response=T)).requires_grad


def test_log_probabilities_against_a_softmax_over_the_whole_sequence(make_policy, make_prompts, simplex):
    policy, weights = make_policy(), simplex(3)
    ids, mask, response = _sequences(make_prompts(3))
    found = policy(sequences(ids, mask, weights, response=T))
    for row in range(3):
        one = ids[row : row + 1, mask[row]]
        with policy.adapter.using(weights[row : row + 1]):
            probs = policy.model(input_ids=one).logits[0].double().softmax(-1)
        count = int(response[row].sum())
        for t in range(count):
            place = one.shape[1] - count + t
            expected = probs[place - 1, one[0, place]].log()
            assert float((found.logps[row, t] - expected).abs().detach()) < 1e-5


def test_a_value_is_that_before_its_token(make_policy, make_prompts, simplex):
    """Changing the last token of an answer changes its log-probability but not its value."""
    policy, weights = make_policy(), simplex(1)
    ids, mask, _ = _sequences(make_prompts(1))
    mask = torch.ones_like(mask)
    changed = ids.clone()
    changed[0, -1] = (changed[0, -1] + 1) % 61
    one, other = (policy(sequences(x, mask, weights, response=T)) for x in (ids, changed))
    assert torch.equal(one.values, other.values) and one.logps[0, -1] != other.logps[0, -1]
    changed[0, -2] = (changed[0, -2] + 1) % 61
    assert not torch.equal(policy(sequences(changed, mask, weights, response=T)).values[:, -1], one.values[:, -1])


def test_the_critic_knows_the_preference_and_leaves_the_policy_alone(make_policy, make_prompts, simplex):
    policy = make_policy()
    ids, mask, _ = _sequences(make_prompts(1))
    hidden = torch.randn(2, 3, 32, requires_grad=True)
    same = hidden[:1].expand(2, -1, -1)
    values = policy.critic(same, simplex(2))
    assert values.dtype == torch.float32 and not torch.equal(values[0], values[1])
    policy(sequences(ids, mask, simplex(1), response=T)).values.sum().backward()
    assert all(p.grad is None for p in policy.model.parameters())
    assert all(p.grad is not None for p in policy.critic.parameters())


def test_a_new_critic_values_everything_at_zero(make_policy, make_prompts, simplex):
    policy = make_policy(moved=False)
    ids, mask, _ = _sequences(make_prompts(4))
    assert not policy(sequences(ids, mask, simplex(4), response=T)).values.any()


def test_without_values_the_critic_is_not_run(make_policy, make_prompts, simplex):
    policy = make_policy()
    ids, mask, _ = _sequences(make_prompts(2))
    with_values = policy(sequences(ids, mask, simplex(2), response=T))
    without = policy(sequences(ids, mask, simplex(2), response=T), with_values=False)
    assert without.values is None and torch.equal(without.logps, with_values.logps)


def test_half_precision_logits_are_normalized_in_fp32():
    logits = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).mul(8).bfloat16()
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    expected = logits.double().log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    assert token_logps(logits, tokens).dtype == torch.float32
    assert (token_logps(logits, tokens) - expected).abs().max() < 1e-5


def test_entropy_by_hand():
    # Two tokens at 1/2 and the others impossible: log 2.  Four equal ones: log 4.
    logits = torch.tensor([[[0.0, 0.0, -100.0, -100.0], [1.0, 1.0, 1.0, 1.0]]])
    assert torch.allclose(entropy(logits), torch.tensor([[2.0, 4.0]]).log(), atol=1e-6)


def test_the_adapter_off_generates_like_the_base_model(make_policy, make_prompts):
    """So it does after the adapter was trained."""
    policy, untouched = make_policy(), make_policy(moved=False)
    how = {"sampling": Sampling(temperature=1.0, top_p=1.0, top_k=0), "seed": 0, "step": 0}
    how |= {"max_new_tokens": 8, "ends": (EOS,), "pad": PAD}
    with policy.off(), untouched.off():
        tokens, _ = policy.generate(make_prompts(6), None, **how)
        again, _ = untouched.generate(make_prompts(6), None, **how)
    assert torch.equal(tokens, again)
    moved, _ = policy.generate(make_prompts(6), torch.tensor([[1.0, 0.0]]).expand(6, -1), **how)
    assert not torch.equal(moved, tokens)


def test_a_copy_of_a_policy_keeps_one_state_for_its_own_layers(make_policy, make_prompts, simplex):
    policy = make_policy()
    other = copy.deepcopy(policy)
    ids, mask, _ = _sequences(make_prompts(2))
    assert torch.equal(
        other(sequences(ids, mask, simplex(2), response=T)).logps,
        policy(sequences(ids, mask, simplex(2), response=T)).logps,
    )


def test_columns_of_padding_alone_are_not_read(make_policy, make_prompts, simplex, monkeypatch):
    policy, (ids, mask, _) = make_policy(), _sequences(make_prompts(3))
    wider = torch.nn.functional.pad(ids, (9, 0), value=PAD), torch.nn.functional.pad(mask, (9, 0))
    rows, more = (sequences(*one, simplex(3), response=T) for one in ((ids, mask), wider))
    seen = []
    policy.model.get_input_embeddings().register_forward_hook(
        lambda module, given, output: seen.append(output.shape[1])
    )
    found, expected = policy(more), policy(rows)
    first = int(mask.any(0).int().argmax())
    assert seen == [ids.shape[1] - first] * 2
    assert torch.equal(found.logps, expected.logps) and torch.equal(found.values, expected.values)


def test_trimming_leaves_answers_and_one_column_before_them():
    ids = torch.arange(12).view(2, 6)
    mask = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1]]).bool()
    rows = Sequences(ids=ids, mask=mask, response=mask[:, -2:])
    assert rows.trimmed().ids.tolist() == [[3, 4, 5], [9, 10, 11]]  # a prompt without a token
    whole = Sequences(ids=ids, mask=mask, response=mask)
    assert whole.trimmed() is whole  # all columns may hold an answer


def test_passes_are_cut_by_what_their_logits_take(make_policy, make_prompts, monkeypatch):
    policy, prompts = make_policy(), make_prompts(7)
    response = torch.ones(7, 5, dtype=torch.bool)
    ids, mask = torch.cat([prompts.ids, prompts.ids[:, -5:]], 1), torch.cat([prompts.mask, response], 1)
    weights = torch.rand(7, 2, generator=torch.Generator().manual_seed(3))
    whole, base = (
        policy.logps(sequences(ids, mask, weights, response=5)),
        policy.reference(sequences(ids, mask, response=5)),
    )
    seen = []
    policy.model.register_forward_hook(lambda module, given, output: seen.append(output.logits.numel()))
    vocabulary = policy.model.get_input_embeddings().num_embeddings
    for most in (3 * 6 * vocabulary, 1):
        monkeypatch.setattr(shipped, "LOGITS_AT_ONCE", most)
        seen.clear()
        torch.testing.assert_close(policy.logps(sequences(ids, mask, weights, response=5)), whole)
        torch.testing.assert_close(policy.reference(sequences(ids, mask, response=5)), base)
        assert max(seen) == (3 if most > 1 else 1) * 6 * vocabulary
    torch.testing.assert_close(policy(sequences(ids, mask, weights, response=5)).logps, whole)


def test_the_language_model_head_reads_whole_tensors(make_policy, make_prompts, simplex):
    """Of a slice of hidden states torch would multiply each row with a copy of the frozen head."""
    policy, seen = make_policy("llama"), []
    head = policy.model.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].is_contiguous()))
    prompts = make_prompts(3)
    ids, mask, response = _sequences(prompts)
    policy(sequences(ids, mask, simplex(3), response=response.shape[1]))
    plain = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    policy.generate(prompts, simplex(3), sampling=plain, seed=0, step=0, max_new_tokens=3, ends=[-1], pad=PAD)
    assert len(seen) == 4 and all(seen)


def test_weights_of_what_is_kept_above_a_floor_steer_nothing(make_policy, make_prompts):
    """The second of three has a floor: a preference counts among the others, in passes and in samples."""
    policy = make_policy("llama", objectives=3)
    policy.floored = (1,)
    prompts = make_prompts(2)
    ids, mask, response = _sequences(prompts)
    asked = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.0, 0.9]])
    among = torch.tensor([[0.4, 0.0, 0.6], [0.1, 0.0, 0.9]])
    plain = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    found, wanted = [], []
    for weights, into, floored in ((asked, found, (1,)), (among, wanted, ())):
        policy.floored = floored
        with torch.no_grad():
            into.append(policy(sequences(ids, mask, weights, response=response.shape[1]), with_values=False).logps)
        drawn, _ = policy.generate(
            prompts, weights, sampling=plain, seed=0, step=0, max_new_tokens=5, ends=[EOS], pad=PAD
        )
        into.append(drawn)
    assert torch.equal(found[1], wanted[1]) and torch.allclose(found[0], wanted[0], atol=1e-6)
    policy.floored = (1,)
    with pytest.raises(InputError, match=r"preference \[0,1,0\]: weighs nothing but what is kept above a floor"):
        policy(sequences(ids, mask, torch.tensor([[0.0, 1.0, 0.0]]).expand(2, -1), response=response.shape[1]))


def test_answers_that_are_sampled_in_parts_are_those_of_all_together(make_policy, make_prompts):
    policy, prompts = make_policy(), make_prompts(7)
    weights = torch.rand(7, 2, generator=torch.Generator().manual_seed(3))
    settings = dict(sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0), seed=0, step=0)
    settings |= dict(max_new_tokens=8, ends=(EOS,), pad=PAD)
    tokens, mask = policy.generate(prompts, weights, **settings)
    for size in (3, 1):
        again, again_mask = policy.generate(prompts, weights, at_once=size, **settings)
        assert torch.equal(again, tokens) and torch.equal(again_mask, mask)
