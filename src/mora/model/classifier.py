"""A reward model as a stock sequence classifier: one linear head in fp32, which any server of such models loads.

Stock heads have no bias, and a server knows nothing of reference statistics.  So the weights carry the scale, and the
constants, which rank nothing within a prompt, stand on the card beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from mora.errors import InputError
from mora.files import write_json
from mora.model.score_model import ScoreModel

CARD = "scores.json"
TOLERANCES = {torch.float32: 1e-4}  # of scores by the written model, relative to the larger of 1 and the score
COARSE = 5e-2  # the same for a backbone below fp32, whose rounding depends on the shape of a batch


@torch.no_grad()
def write_classifier(
    model: ScoreModel, folder: Path, *, mean: Tensor, std: Tensor, sequences: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Write ``model`` into ``folder`` as a classifier with a label per objective; return the facts of its card.

    The logit of an objective plus its constant is the location of its belief in standard units, ``(location - mean) /
    std`` for statistics (M,).  The written folder is loaded again and its logits of ``sequences`` (token ids, ending as
    answers end) are held against the model's own, alone and in one padded batch.
    Raises InputError where transformers has no classifier for the architecture, where its head is no plain linear
    ``score``, and when a score is off by more than 1e-4 (5e-2 for a backbone below fp32), relative to the larger of 1
    and the score.
    """
    weight, bias = _locations(model)
    weight, constants = weight / std[:, None].to(weight), (bias - mean.to(bias)) / std.to(bias)
    stock, head = _stock(model)
    head.weight.copy_(weight.cpu())
    stock.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    facts = {
        "objectives": list(model.objectives),
        "unit": "standard deviations of the reference policy",
        "constants": constants.tolist(),
        "score": "logit + constant",
    }
    write_json(folder / CARD, facts)
    written = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    expected = torch.cat([_own(model, [one], weight, constants) for one in sequences]).cpu()
    found = torch.cat([_logits(written, [one]) for one in sequences]) + constants.cpu()
    together = _logits(written, sequences) + constants.cpu()
    size = expected.abs().clamp_min(1.0)
    error = max(float(((scores - expected).abs() / size).max()) for scores in (found, together))
    allowed = TOLERANCES.get(model.backbone.dtype, COARSE)
    if not error <= allowed:
        raise InputError(
            f"the exported classifier scores differently by {error:.2g} standard units (allowed {allowed:.0e}): its "
            "pooling or padding is not mora's; score with python -m mora.score instead"
        )
    return facts | {"largest error": error}


def _locations(model: ScoreModel) -> tuple[Tensor, Tensor]:
    """Weights (M, H) and biases (M,) of each objective's first raw output: the mean of kinds that are ``linear``."""
    width = model.head.width
    return model.head.linear.weight[::width].double(), model.head.linear.bias[::width].double()


def _stock(model: ScoreModel) -> tuple[PreTrainedModel, nn.Linear]:
    """The classifier of the backbone's architecture with the backbone's weights, and its head, which is yet to fill."""
    config = type(model.backbone.config).from_dict(model.backbone.config.to_dict())
    config.num_labels = len(model.objectives)
    config.id2label = dict(enumerate(model.objectives))
    config.label2id = {name: number for number, name in enumerate(model.objectives)}
    pad = model.tokenizer.pad_token_id
    config.pad_token_id = model.tokenizer.eos_token_id if pad is None else pad
    config.problem_type = "regression"
    try:
        stock = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise InputError(f"transformers has no sequence classifier for {config.model_type}; use mora.score") from error
    head = dict(stock.named_children()).get("score")
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise InputError(f"the classifier of {config.model_type} has no plain linear head named score; use mora.score")
    stock.base_model.to(model.backbone.dtype).load_state_dict(model.backbone.state_dict())
    return stock.eval(), head.float()


def _padded(sequences: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(len(one) for one in sequences)
    ids = torch.tensor([[*one, *[pad] * (longest - len(one))] for one in sequences])
    mask = torch.tensor([[True] * len(one) + [False] * (longest - len(one)) for one in sequences])
    return ids, mask


def _logits(written: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    ids, mask = _padded(sequences, written.config.pad_token_id)
    return written(input_ids=ids, attention_mask=mask.long()).logits.double()


def _own(model: ScoreModel, sequences: Sequence[Sequence[int]], weight: Tensor, constants: Tensor) -> Tensor:
    ids, mask = _padded(sequences, 0)
    features = model.features(ids.to(model.device), mask.to(model.device)).double()
    return features @ weight.T + constants
