"""A trained policy on disk: what was trained of it, the name of its base, and the tokenizer."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from mora.errors import InputError
from mora.files import read_object
from mora.model.adapter import SETTINGS, WEIGHTS, AdapterKind, check_rank, read_settings
from mora.model.capacity import check_tokens
from mora.model.full import Full, FullAdapter
from mora.model.load import ModelSpec, load_causal, load_tokenizer
from mora.model.lora import LoRA
from mora.model.policy import Policy
from mora.model.svd_lora import SVDLoRA

KINDS: tuple[type[AdapterKind], ...] = (SVDLoRA, LoRA, Full)  # that a stored policy may be of
STANDARDIZATION = "standardization.json"  # units of the reward that a policy was trained on


def base_reference(base: str, folder: Path) -> str:
    """How ``folder`` (``runs/NAME/policy``) names its base, so that it is found from anywhere.

    A folder of the same ``runs`` is named relative to ``folder``, where links lead to: runs can be moved together.  Any
    other is named from the root, and a hub id as it is.
    """
    if not base or not Path(os.path.expanduser(base)).is_dir():
        return base
    target, runs = Path(os.path.expanduser(base)).resolve(), folder.resolve().parent.parent
    return relative(target, folder) if target.is_relative_to(runs) else str(target)


def relative(target: Path | str, folder: Path) -> str:
    """The way from ``folder`` to ``target``, where links lead to: it holds when both are moved together."""
    return os.path.relpath(os.path.realpath(target), os.path.realpath(folder))


def base_of(folder: Path) -> str:
    """The base model of a stored policy, as a path or hub id."""
    *_, base = read_settings(folder, KINDS)
    return located(base, folder, SETTINGS)


def located(base: str, folder: Path, named_in: str) -> str:
    """The base that the file ``named_in`` of ``folder`` names by ``base_reference``, as a path or hub id.

    Raises InputError where it was a folder that is gone.
    """
    local = Path(os.path.realpath(folder)) / base
    if base.startswith(("..", "/")) and not local.is_dir():
        raise InputError(
            f"{folder / named_in}: the base model {os.path.normpath(local)} is gone; what was trained on it cannot be "
            "used without it: put it back, or move it together with the folder of runs"
        )
    return os.path.normpath(local) if local.is_dir() else base


def load_plain(folder: Path, device: torch.device) -> tuple[Policy, PreTrainedTokenizerBase]:
    """A plain causal model as a policy that is its own reference; no preference steers it."""
    model, tokenizer = load_causal(folder).requires_grad_(False), load_tokenizer(folder, stored=True)
    check_tokens(model, tokenizer, folder)
    model.to(device)  # type: ignore[arg-type]
    return Policy(model, FullAdapter(model, model, Full(lr=0.0), []), None).to(device).eval(), tokenizer


def load_policy(
    folder: Path, device: torch.device, spec: ModelSpec | None = None, *, reference: bool = True
) -> tuple[Policy, PreTrainedTokenizerBase]:
    """Policy and tokenizer from the ``policy/`` folder of a run, in evaluation mode, without a critic.

    One whose weights were all trained needs its base for the ``reference`` policy alone, and can do without.
    """
    settings, objectives, _ = read_settings(folder, KINDS)
    floored = _check_objectives(folder, objectives)
    whole = isinstance(settings, Full)
    if whole and not reference:
        model, tokenizer = load_causal(folder).requires_grad_(False), load_tokenizer(folder, stored=True)
        return Policy(model, FullAdapter(model, None, settings, objectives), None).to(device).eval(), tokenizer
    base = base_of(folder)
    revision = spec.revision if spec is not None and base == spec.path else None
    held = spec.trained if whole and spec is not None else spec  # as in training, where the reference is not rounded
    model, tokenizer = load_causal(base, held, revision=revision), load_tokenizer(folder, stored=True)
    check_tokens(model, tokenizer, folder)
    model.to(device)  # type: ignore[arg-type]
    if whole:
        own = load_causal(folder).requires_grad_(False)
        own.to(device)  # type: ignore[arg-type]
        return Policy(own, FullAdapter(own, model, settings, objectives), None).to(device).eval(), tokenizer
    check_rank(folder / WEIGHTS, settings.rank, remedy="without its adapter the policy is gone; train it again")
    adapter = settings.attach(model, objectives, seed=0)
    adapter.load(folder)
    return Policy(model, adapter, None, floored=floored).to(device).eval(), tokenizer


def _check_objectives(folder: Path, objectives: list[str]) -> list[int]:
    """The places of the objectives under floors, which steer nothing.

    Raises InputError where the units that a policy was trained in are those of other objectives.
    """
    units = folder / STANDARDIZATION
    known = read_object(units) if units.is_file() else {}
    stored, floored = known.get("objectives", objectives), known.get("floored", [])
    if not isinstance(floored, list) or not all(name in objectives for name in floored):
        raise InputError(f"{units}: floored must be a list of some of {', '.join(objectives)}")
    if stored != objectives:
        raise InputError(
            f"{folder / SETTINGS}: has the objectives {', '.join(objectives)}, and {units.name} has {stored}: the "
            "files are of two policies; get the folder again"
        )
    return [objectives.index(name) for name in floored]
