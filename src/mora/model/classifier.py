"""A reward model as a stock sequence classifier: one linear head in fp32, which any server of such models loads.

Stock heads have no bias, and a server knows nothing of reference statistics.  So the weights carry the scale, and the
constants, which rank nothing within a prompt, stand on the card beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from mora.ends import named_ends
from mora.errors import InputError
from mora.files import write_json
from mora.model.score_model import ScoreModel

CARD = "scores.json"
TOLERANCES = {torch.float32: 1e-4}  # of scores by the written model, relative to the larger of 1 and the score
COARSE = 5e-2  # the same for a backbone below fp32, whose rounding depends on the shape of a batch


@torch.no_grad()
def write_classifier(
    model: ScoreModel,
    folder: Path,
    *,
    objectives: Sequence[str],
    shift: Tensor,
    std: Tensor,
    sequences: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """Write some objectives of ``model`` into ``folder`` as a classifier with a label each; return what its card says.

    The logit of an objective plus its constant is the location of its belief in standard units: the mean over members
    of ``(location - shift) / std`` for statistics (M, E).  The written folder is loaded again and its logits of
    ``sequences`` (token ids, ending as answers end) are held against the model's own, alone and in one padded batch.
    Raises InputError for objectives that stand on different trunks or adapters, where transformers has no classifier
    for the architecture, where its head is no plain linear ``score``, and when a score is off by more than 1e-4 (5e-2
    for a trunk below fp32), relative to the larger of 1 and the score.
    """
    columns = [model.objectives.index(name) for name in objectives]
    backbone = _backbone(model, objectives, columns)
    locations, biases = _locations(model)
    shift, std = shift.to(biases)[columns], std.to(biases)[columns]
    weight = (locations[columns] / std[..., None]).mean(1)
    constants = ((biases[columns] - shift) / std).mean(1)
    tokenizer = _padding_apart(model.tokenizer, {one[-1] for one in sequences})
    stock, head = _stock(model, backbone, objectives, tokenizer.pad_token_id)
    head.weight.copy_(weight.cpu())
    stock.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    facts = {
        "objectives": list(objectives),
        "unit": "standard deviations of the reference policy",
        "constants": constants.tolist(),
        "score": "logit + constant",
    }
    write_json(folder / CARD, facts)
    written = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    expected = torch.cat([_own(model, backbone, [one], weight, constants) for one in sequences]).cpu()
    found = torch.cat([_logits(written, [one]) for one in sequences]) + constants.cpu()
    together = _logits(written, sequences) + constants.cpu()
    size = expected.abs().clamp_min(1.0)
    error = max(float(((scores - expected).abs() / size).max()) for scores in (found, together))
    allowed = TOLERANCES.get(model.dtype, COARSE)
    if not error <= allowed:
        raise InputError(
            f"the exported classifier scores differently by {error:.2g} standard units (allowed {allowed:.0e}): its "
            "pooling or padding is not mora's; score with python -m mora.score instead"
        )
    return facts | {"largest error": error}


def _backbone(model: ScoreModel, objectives: Sequence[str], columns: Sequence[int]) -> int:
    """The backbone that all heads of these objectives read."""
    heads = model.head.backbones
    backbones = {heads[column * model.members + member] for column in columns for member in range(model.members)}
    if len(backbones) == 1:
        return backbones.pop()
    if model.members > 1 and model.layout.members != "trunk":
        raise InputError(
            f"the {model.members} members of this ensemble are models of their own, and a classifier is one model; "
            "score with python -m mora.score, or train reward=rating on their scores (reward=pseudo)"
        )
    raise InputError(
        f"{', '.join(objectives)} stand on {len(backbones)} different models, and a classifier is one; export them one "
        f"by one: objective={objectives[0]}"
    )


def _locations(model: ScoreModel) -> tuple[Tensor, Tensor]:
    """Weights (M, E, H) and biases (M, E) of each member's location, its first raw output, in fp64."""
    shape = (len(model.objectives), model.members, model.head.width // model.members, -1)
    weight, bias = (values.detach().double() for values in (model.head.linear.weight, model.head.linear.bias))
    return weight.view(shape)[:, :, 0], bias.view(shape)[:, :, 0, 0]


def _padding_apart(tokenizer: PreTrainedTokenizerBase, ends: set[int]) -> PreTrainedTokenizerBase:
    """The tokenizer with a padding token that ends no answer, itself where it has one.

    Stock classifiers read the last token that is no padding: where padding is the end token, the one before it.
    Raises InputError where every special token ends answers.
    """
    taken = {*ends, tokenizer.eos_token_id, *named_ends(tokenizer)}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in taken:
        return tokenizer
    free = sorted({*tokenizer.all_special_ids} - taken)
    if not free:
        raise InputError(
            f"{tokenizer.name_or_path}: has no special token but those that end answers, so a stock classifier could "
            "not tell padding from an end; score with python -m mora.score instead"
        )
    apart = deepcopy(tokenizer)
    apart.pad_token = tokenizer.convert_ids_to_tokens(free[0])
    return apart


def _stock(model: ScoreModel, backbone: int, objectives: Sequence[str], pad: int) -> tuple[PreTrainedModel, nn.Linear]:
    """The classifier of the trunk's architecture with the backbone's weights, and its head, which is yet to fill."""
    trunk, weights = model.backbones.weights(backbone)
    config = type(trunk.config).from_dict(trunk.config.to_dict())
    config.num_labels = len(objectives)
    config.id2label = dict(enumerate(objectives))
    config.label2id = {name: number for number, name in enumerate(objectives)}
    config.pad_token_id = pad
    config.problem_type = "regression"
    try:
        stock = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise InputError(f"transformers has no sequence classifier for {config.model_type}; use mora.score") from error
    head = dict(stock.named_children()).get("score")
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise InputError(f"the classifier of {config.model_type} has no plain linear head named score; use mora.score")
    stock.base_model.to(model.dtype).load_state_dict(weights)
    return stock.eval(), head.float()


def _padded(sequences: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(len(one) for one in sequences)
    ids = torch.tensor([[*one, *[pad] * (longest - len(one))] for one in sequences])
    mask = torch.tensor([[True] * len(one) + [False] * (longest - len(one)) for one in sequences])
    return ids, mask


def _logits(written: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    ids, mask = _padded(sequences, written.config.pad_token_id)
    return written(input_ids=ids, attention_mask=mask.long()).logits.double()


def _own(
    model: ScoreModel, backbone: int, sequences: Sequence[Sequence[int]], weight: Tensor, constants: Tensor
) -> Tensor:
    ids, mask = _padded(sequences, 0)
    features = model.features(ids.to(model.device), mask.to(model.device))[backbone].double()
    return features @ weight.T + constants
