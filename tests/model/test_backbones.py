"""Trunks, adapters and the heads that read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from mora.errors import InputError
from mora.files import read_json, write_json
from mora.model.backbones import SHARED, Layout, TrunkSource
from mora.model.heads import RewardHead
from mora.model.lora import LoRASettings, attach_several
from mora.model.score_model import ScoreModel
from mora.model.tokenizer import train_words
from mora.reward.ensemble import Ensemble
from mora.reward.scalar import Scalar

TOKENIZER = train_words(["a b c d e f g h"], closed=False)
SCALAR = Scalar(margin=0.0, strength="ignore", centering=0.0, l2=0.0)
LORA = LoRASettings(rank=3, scale=2.0, targets=["all-linear"])
IDS = torch.tensor([[5, 6, 7, 8], [8, 7, 6, 5], [6, 6, 9, 9]])
MASK = torch.ones_like(IDS, dtype=torch.bool)


def trunk(width: int = 16, **more: Any) -> Any:
    config = AutoConfig.for_model(
        "llama",
        **{
            "vocab_size": len(TOKENIZER),
            "hidden_size": width,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }
        | more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModel.from_config(config)


def ensemble(members: int, sharing: Any) -> Ensemble:
    return Ensemble(member=SCALAR, members=members, sharing=sharing, resample=False, seed=0)


def model(objectives: Any, members: Any, count: int = 2, make: Callable[[], Any] = trunk) -> ScoreModel:
    layout = Layout(objectives=objectives, members=members, lora=LORA)
    return ScoreModel.new(
        make, TOKENIZER, ensemble(count, members), objectives=("x", "y", "z"), seed=1, layout=layout
    ).eval()


def disturb(score: ScoreModel) -> ScoreModel:
    """Every weight that is trained gets other values, so that backbones differ."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in [*score.backbones.trained(), *score.head.parameters()]:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return score


@pytest.mark.parametrize(
    ("objectives", "members", "trunks", "adapters", "backbones"),
    [
        ("trunk", "trunk", 1, 1, [0, 0, 0, 0, 0, 0]),
        ("separate", "trunk", 3, 1, [0, 0, 1, 1, 2, 2]),
        ("trunk", "separate", 2, 1, [0, 1, 0, 1, 0, 1]),
        ("separate", "separate", 6, 1, [0, 1, 2, 3, 4, 5]),
        ("lora", "trunk", 1, 3, [0, 0, 1, 1, 2, 2]),
        ("lora", "lora", 1, 6, [0, 1, 2, 3, 4, 5]),
        ("lora", "separate", 2, 3, [0, 3, 1, 4, 2, 5]),
        ("separate", "lora", 3, 2, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_every_head_reads_the_backbone_that_its_sharing_says(objectives, members, trunks, adapters, backbones) -> None:
    layout = Layout(objectives=objectives, members=members, lora=LORA)
    assert layout.counts(3, 2) == (trunks, adapters)
    assert layout.backbones(3, 2) == backbones
    made = model(objectives, members)
    assert len(made.backbones) == trunks * adapters == max(backbones) + 1
    assert made(IDS, MASK).shape == (3, 3, 2)


def test_a_head_reads_its_rows_from_its_backbone() -> None:
    head = RewardHead(4, 2, 4, backbones=(1, 0, 2, 1))
    head.reset((0.1, 0.2, 0.1, 0.2), torch.Generator().manual_seed(0))
    torch.nn.init.normal_(head.linear.weight)
    features = [torch.randn(5, 4) for _ in range(3)]
    raw = head(features)
    weight, bias = head.linear.weight.view(2, 2, 2, 4), head.linear.bias.view(2, 2, 2)
    for objective, member, backbone in ((0, 0, 1), (0, 1, 0), (1, 0, 2), (1, 1, 1)):
        expected = features[backbone] @ weight[objective, member].T + bias[objective, member]
        torch.testing.assert_close(raw[:, objective, 2 * member : 2 * member + 2], expected)


@pytest.mark.parametrize("sharing", ["separate", "lora"])
def test_what_is_trained_for_one_objective_leaves_the_others_alone(sharing: Any) -> None:
    score = disturb(model(sharing, "trunk"))
    score(IDS, MASK)[:, 1].sum().backward()
    grads = [p.grad for p in score.backbones.trained()]
    if sharing == "lora":
        assert all(g is not None and (g[[0, 2]] == 0).all() for g in grads)
        assert all((g[1] != 0).any() for g in grads if g is not None)
        assert all(
            p.grad is None for t in score.backbones.trunks for n, p in t.named_parameters() if n.endswith("base.weight")
        )
    else:
        touched = [
            any(p.grad is not None and p.grad.abs().sum() > 0 for p in t.parameters()) for t in score.backbones.trunks
        ]
        assert touched == [False, True, False]


def test_an_adapted_backbone_is_the_trunk_plus_its_dense_update() -> None:
    score = disturb(model("lora", "trunk"))
    for number in range(3):
        plain, weights = score.backbones.weights(number)
        merged = trunk()
        merged.load_state_dict(weights)
        expected = merged(input_ids=IDS).last_hidden_state[:, -1]
        torch.testing.assert_close(score.features(IDS, MASK)[number], expected, atol=1e-5, rtol=1e-5)
    features = score.features(IDS, MASK)
    assert (features[0] - features[1]).abs().max() > 0.1


def test_adapters_start_as_the_trunk_bit_for_bit_and_learn() -> None:
    made, plain = model("lora", "trunk"), trunk()
    for features in made.features(IDS, MASK):
        assert torch.equal(features, plain(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state[:, -1])
    made(IDS, MASK).sum().backward()
    bank = made.backbones.banks[0]
    assert all((layer.B.grad != 0).any() for layer in bank.layers.values())


@pytest.mark.parametrize("layout", [("lora", "trunk"), ("separate", "lora"), ("trunk", "separate"), ("trunk", "trunk")])
def test_a_stored_model_scores_as_before(tmp_path: Path, layout: Any) -> None:
    score = disturb(model(*layout))
    score.save(tmp_path / "reward", {})
    assert score(IDS, MASK).equal(ScoreModel.load(tmp_path / "reward")(IDS, MASK))
    assert score(IDS, MASK).equal(score(IDS, MASK))  # saving took the adapters off, and put them back
    assert read_json(tmp_path / "reward" / "reward.json")["layout"]["objectives"] == layout[0]


def on_a_stored_trunk(runs: Path) -> ScoreModel:
    """Adapters on the trunk of ``runs/sft/model``, whose weights are in bf16, read with attention that is not usual."""
    folder = runs / "sft" / "model"
    trunk().to(torch.bfloat16).save_pretrained(folder)
    source = TrunkSource(path=str(folder), dtype="bfloat16", attention="eager")
    layout, sizes = Layout(objectives="separate", members="lora", lora=LORA), {"objectives": ("x", "y", "z"), "seed": 1}
    made = ScoreModel.new(source.load, TOKENIZER, ensemble(2, "lora"), layout=layout, source=source, **sizes)  # type: ignore[arg-type]
    return disturb(made.eval())


def test_a_frozen_trunk_is_named_and_not_stored_again(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    score = on_a_stored_trunk(runs)
    score.save(runs / "reward_model" / "reward", {})
    stored = sorted(path.name for path in (runs / "reward_model").rglob("*.safetensors"))
    assert stored == ["head.safetensors", *["lora.safetensors"] * 3]
    runs = runs.rename(tmp_path / "moved")
    read = ScoreModel.load(runs / "reward_model" / "reward")
    assert read(IDS, MASK).equal(score(IDS, MASK))
    assert read.dtype == torch.bfloat16
    assert {trunk.config._attn_implementation for trunk in read.backbones.trunks} == {"eager"}
    read.save(runs / "copy" / "reward", {})  # and once more from there
    assert ScoreModel.load(runs / "copy" / "reward")(IDS, MASK).equal(score(IDS, MASK))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../../gone"}, "the base model .* is gone"),
        ({"path": 3}, r"names no trunk \(attention, dtype, path"),
        ({"path": None}, "holds no trunk"),
        ({"more": 1}, "names no trunk"),
        ({"dtype": "int8"}, "dtype 'int8' is none of"),
        ({"dtype": ["float32"]}, "dtype .* is none of"),
        ({"quantization": "2bit"}, "quantization '2bit' is none of"),
        ({"attention": "OWNER/kernel"}, "attention 'OWNER/kernel' is none of"),
    ],
)
def test_a_card_that_names_no_trunk_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = tmp_path / "reward_model" / "reward"
    on_a_stored_trunk(tmp_path).save(folder, {})
    (folder / "manifest.json").unlink()  # as of a folder from elsewhere
    card = read_json(folder / "reward.json")
    card["trunk"] |= change
    write_json(folder / "reward.json", card)
    with pytest.raises(InputError, match=message):
        ScoreModel.load(folder)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_trunk_is_read_with_the_attention_that_it_was_trained_with(tmp_path: Path, attention: str) -> None:
    score = model("trunk", "trunk", make=lambda: trunk(attn_implementation=attention))
    score.save(tmp_path / "reward", {})
    read = ScoreModel.load(tmp_path / "reward")
    assert read.backbones.trunks[0].config._attn_implementation == attention
    card = read_json(tmp_path / "reward" / "reward.json")
    (tmp_path / "reward" / "manifest.json").unlink()
    card["trunk"]["attention"] = "eager" if attention == "sdpa" else "sdpa"
    write_json(tmp_path / "reward" / "reward.json", card)
    assert ScoreModel.load(tmp_path / "reward").backbones.trunks[0].config._attn_implementation != attention


@pytest.mark.parametrize("layout", [("lora", "trunk"), ("separate", "lora"), ("trunk", "separate")])
def test_scores_do_not_depend_on_padding(layout: Any) -> None:
    disturb(model(*layout)).check_padding()


def test_checkpointed_activations_are_recomputed_under_their_own_adapter() -> None:
    gradients = []
    for checkpointed in (False, True):
        score = disturb(model("lora", "trunk")).train()
        if checkpointed:
            score.backbones.checkpoint_activations()
        loss = score(IDS, MASK).square().sum()
        for _ in range(2):  # a second pass backwards recomputes once more
            found = torch.autograd.grad(loss, score.backbones.trained(), retain_graph=True)
        gradients.append(found)
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


def test_members_of_different_width_are_refused(tmp_path: Path) -> None:
    widths = iter((16, 24))
    with pytest.raises(InputError, match=r"different widths \(\[16, 24\]\)"):
        model("trunk", "separate", make=lambda: trunk(next(widths)))
    score = model("trunk", "separate")
    score.save(tmp_path, {})
    (tmp_path / "manifest.json").unlink()  # as of a folder from elsewhere
    trunk(24).save_pretrained(tmp_path / "trunks" / "1")
    with pytest.raises(InputError, match="different widths"):
        ScoreModel.load(tmp_path)


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match=f"the tokenizer has token {len(TOKENIZER) - 1} .* the model embeddings for 5"):
        model("trunk", "trunk", make=lambda: trunk(vocab_size=5, pad_token_id=0))


def test_a_missing_trunk_or_adapter_is_refused(tmp_path: Path) -> None:
    model("separate", "trunk").save(tmp_path / "a", {})
    (tmp_path / "a" / "manifest.json").unlink()  # as of a folder from elsewhere
    (tmp_path / "a" / "trunks" / "2" / "config.json").unlink()
    with pytest.raises(InputError, match="holds no trunk"):
        ScoreModel.load(tmp_path / "a")
    model("lora", "trunk").save(tmp_path / "b", {})
    (tmp_path / "b" / "manifest.json").unlink()
    card = read_json(tmp_path / "b" / "reward.json")
    card["layout"]["lora"]["rank"] = 4
    write_json(tmp_path / "b" / "reward.json", card)
    with pytest.raises(InputError, match="an adapter of the reward model does not fit"):
        ScoreModel.load(tmp_path / "b")
    (tmp_path / "b" / "lora.safetensors").unlink()
    with pytest.raises(InputError, match="without its adapters"):
        ScoreModel.load(tmp_path / "b")


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(InputError, match="sharing=heads"):
        Layout(objectives="heads", members="trunk", lora=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs the shape"):
        Layout(objectives="lora", members="trunk", lora=None)
    with pytest.raises(InputError, match=r"algo\.lora\.rank=0"):
        LoRASettings(rank=0, scale=1.0, targets=["all-linear"])
    with pytest.raises(InputError, match=r"algo\.lora\.targets: no Linear named \['nope'\]"):
        attach_several(trunk(), LoRASettings(rank=1, scale=1.0, targets=["nope"]), count=1, seed=0)
    for layout in (SHARED, Layout(objectives="lora", members="trunk", lora=LORA)):
        assert Layout.read(layout.facts()) == layout
