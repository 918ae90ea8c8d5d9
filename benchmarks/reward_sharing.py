"""What scoring several objectives costs by heads on one trunk, by an adapter each, and by a model each.

    python benchmarks/reward_sharing.py objectives=6 hidden=512 layers=8 sequences=32 length=128 rounds=5

Time: all designs in one process, one after another in every round; the least time of the rounds, as ratios.  Memory:
each design in a process of its own that builds it and scores once, its peak above that of a process that builds a model
of one token; and the bytes of the weights.  Random weights and tokens: what is scored does not matter to either.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from typing import Any

import torch
from made_by import made_by
from transformers import AutoConfig, AutoModel, PreTrainedModel

from mora.model.backbones import Layout
from mora.model.lora import LoRASettings
from mora.model.score_model import ScoreModel
from mora.model.tokenizer import train_words
from mora.reward.scalar import Scalar
from mora.runtime.memory import PeakMemory

KIND = Scalar(margin=0.0, strength="ignore", centering=0.0, l2=0.0)
LORA = LoRASettings(rank=8, scale=2.0, targets=["all-linear"])
DESIGNS = {"one model, one objective": "trunk", "heads": "trunk", "adapters": "lora", "models": "separate"}
MIB = 2**20


def trunk(hidden: int, layers: int, vocabulary: int) -> PreTrainedModel:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=8,
    )
    made: PreTrainedModel = AutoModel.from_config(config)
    return made


def built(design: str, size: dict[str, int]) -> ScoreModel:
    tokenizer = train_words([" ".join(f"w{i}" for i in range(2000))], closed=False)
    count = 1 if design == "one model, one objective" else size["objectives"]
    layout = Layout(objectives=DESIGNS[design], members="trunk", lora=LORA)  # type: ignore[arg-type]
    make = partial(trunk, size["hidden"], size["layers"], len(tokenizer))
    names = [f"o{i}" for i in range(count)]
    return ScoreModel.new(make, tokenizer, KIND, objectives=names, seed=0, layout=layout).eval()


def batch(size: dict[str, int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(5, 1000, (size["sequences"], size["length"]), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids, dtype=torch.bool)


def weights(model: ScoreModel) -> float:
    return sum(p.numel() * p.element_size() for p in model.parameters()) / MIB


def peak(design: str, size: dict[str, int]) -> float:
    """Peak resident memory in MiB of a process that builds ``design`` and scores once."""
    code = f"import reward_sharing; reward_sharing.score_once({design!r}, {json.dumps(size)})"
    done = subprocess.run([sys.executable, "-c", code], cwd=sys.path[0], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


@torch.inference_mode()
def score_once(design: str, size: dict[str, int]) -> None:
    memory = PeakMemory(torch.device("cpu"))
    built(design, size)(*batch(size))
    print(memory.gib() * 1024)


@torch.inference_mode()
def main() -> None:
    size = {"objectives": 6, "hidden": 512, "layers": 8, "sequences": 32, "length": 128, "rounds": 5}
    size |= {key: int(value) for key, value in (argument.split("=") for argument in sys.argv[1:])}
    models = {design: built(design, size) for design in DESIGNS}
    ids, mask = batch(size)
    seconds: dict[str, list[float]] = {design: [] for design in DESIGNS}
    for _ in range(size["rounds"]):
        for design, model in models.items():
            begin = time.perf_counter()
            model(ids, mask)
            seconds[design].append(time.perf_counter() - begin)
    bare = peak("one model, one objective", size | {"hidden": 8, "layers": 1, "sequences": 1, "length": 1})
    rows: list[dict[str, Any]] = [
        {
            "design": design,
            "seconds": min(seconds[design]),
            "weights": weights(model),
            "peak": peak(design, size) - bare,
        }
        for design, model in models.items()
    ]
    one, many = rows[0], rows[-1]
    texts = f"{size['sequences']} x {size['length']} tokens"
    print(made_by())
    print(f"{size['objectives']} objectives, {weights(models['heads']):.0f} MiB a model, {texts}")
    print("| design | s | times faster than models | weights, MiB | peak, MiB | peak / one model |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        faster, memory = many["seconds"] / row["seconds"], row["peak"] / one["peak"]
        cells = f"{row['seconds']:.3f} | {faster:.2f} | {row['weights']:.0f} | {row['peak']:.0f} | {memory:.2f}"
        print(f"| {row['design']} | {cells} |")


if __name__ == "__main__":
    main()
