"""Whether a model gives the same numbers alone, padded, with a cache, in training and under an adapter.

Architectures differ in what they do with padding, positions, caches and training mode, and in how they call their
layers.  Training rests on these being one function, so the model at hand is asked, in a few small passes, before
anything is trained on it.  All checks raise InputError that says what differs, by how much, and what works instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mora.errors import InputError
from mora.functional.masking import pool_last, position_ids
from mora.model.adapter import Adapter, linear_targets, place
from mora.model.capacity import positions
from mora.model.features import last_hidden
from mora.model.generate import Sampling, generate
from mora.types import Prompts

TOLERANCE, COARSE = 1e-3, 0.1  # of differences, relative to the spread of what is compared; in fp32, and below
LENGTHS = (4, 9, 6)  # tokens of the sequences
BATCHES = ((3, 5), (2, 7))  # rows and tokens of two batches whose numbers are all different
DRAWN = 6  # tokens that a cache is tried with
OTHERS = "use a model of another architecture (docs/models.md lists those that were tried)"
CALLED = (AttributeError, ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


class Watched(nn.Module):
    """A Linear that notes the shapes it is called with, and whether its weights are read by others."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.shapes: list[torch.Size] = []
        self.plain = True

    def forward(self, x: Tensor) -> Any:
        """What the Linear gives."""
        output = self.base(x)
        self.shapes.append(x.shape)
        self.plain &= isinstance(output, Tensor)  # some routers are a Linear, and give several tensors
        return output

    def __getattr__(self, name: str) -> Any:
        """Its own modules; else an attribute of the Linear, such as its weight, which an adapted layer has not."""
        if name in self.__dict__["_modules"]:
            return super().__getattr__(name)
        self.plain = False
        return getattr(self.base, name)

    def fits(self, rows: int, length: int, *, by_row: bool) -> bool:
        """Whether an adapter may take its place, by the calls since the last time."""
        calls, self.shapes = self.shapes, []
        whole = all(shape[0] == (rows if len(shape) > 2 else rows * length) for shape in calls if shape)
        return self.plain and (not by_row or (bool(calls) and whole))


def check_span(model: PreTrainedModel, name: object) -> None:
    """Raises InputError, which begins with ``name``, for a model that cannot read the sequences it is tried with."""
    limit, needed = positions(model), max(LENGTHS) + DRAWN
    if limit is not None and limit < needed:
        raise InputError(f"{name}: reads at most {limit} tokens; name a model with at least {needed} positions")


def check_modes(model: PreTrainedModel) -> None:
    """In training mode a model must compute what it computes in evaluation: nothing is dropped, routed by chance.

    That is what it says of next tokens, or of an encoder, which says nothing of them, its hidden states.
    """
    ids, mask = _batch(model, LENGTHS, left=False)
    writes = model.get_output_embeddings() is not None
    read, what = (_logits, "log-probabilities") if writes else (last_hidden, "hidden states")
    with _asked(model, "run in training mode"), _forked(model), torch.no_grad():
        found = [read(model.train(mode), ids, mask)[mask] for mode in (True, False)]
    _compare(model, found[0], found[1], f"training mode changes its {what}")


def check_policy(model: PreTrainedModel) -> None:
    """Log-probabilities must be those of a sequence alone under padding, and when they are sampled with a cache."""
    model.eval()
    with _asked(model, "run on a padded batch"), torch.no_grad():
        for left in (True, False):
            ids, mask = _batch(model, LENGTHS, left=left)
            found, alone = _logits(model, ids, mask), _alone(model, ids, mask)
            side = "left" if left else "right"
            _compare(model, found[mask], torch.cat(alone), f"padding on the {side} changes its log-probabilities")
    with _asked(model, "sampled from with a cache"), torch.no_grad():
        ids, mask = _batch(model, LENGTHS, left=True)
        for found, expected in _sampled(model, ids, mask):
            _compare(model, found, expected, "its cache changes the log-probabilities of what is sampled")


def check_trunk(trunk: PreTrainedModel) -> None:
    """The hidden states of a sequence, which a reward head reads, must not depend on padding; the last one shows it."""
    trunk.eval()
    with _asked(trunk, "run on a padded batch"), torch.no_grad():
        found = []
        for left in (True, False):
            ids, mask = _batch(trunk, LENGTHS, left=left)
            found.append(pool_last(last_hidden(trunk, ids, mask), mask))
        pairs = zip(ids, mask, strict=True)
        alone = torch.cat([last_hidden(trunk, one[kept][None], kept[kept][None])[:, -1] for one, kept in pairs])
    for side, states in zip(("left", "right"), found, strict=True):
        _compare(trunk, states, alone, f"padding on the {side} changes what a reward head reads")


def check_encoder(model: Any, name: object) -> None:
    """Raises InputError for a model whose first token does not know of later ones: it is no encoder."""
    ids, mask = _batch(model, LENGTHS[:1], left=False)
    other = torch.cat([ids[:, :-1], ids[:, :1]], 1)
    with _asked(model, "run on a batch"), torch.no_grad():
        first, second = (last_hidden(model.eval(), tokens, mask)[0, 0] for tokens in (ids, other))
    if torch.equal(first, second):
        raise InputError(f"{name}: is no encoder: its first token does not know of later ones; set model.encoder=false")


def check_targets(model: PreTrainedModel, targets: Mapping[str, nn.Linear], *, key: str, by_row: bool) -> None:
    """Every target must be called by the model, and, ``by_row``, with all tokens of the batch in their order.

    A model that reads the weights of a Linear itself, or routes some tokens to it, would pass by an adapter there, or
    hand it tokens whose preference it cannot know.
    """
    watched = {path: Watched(linear) for path, linear in targets.items()}
    fits = dict.fromkeys(targets, True)
    place(model, watched)
    try:
        with _asked(model, "run on a batch"), _forked(model), torch.no_grad():
            for training, (rows, length) in product((True, False), BATCHES):
                ids, mask = _batch(model, (length,) * rows, left=False)
                _pass(model.train(training), ids, mask)
                for path, one in watched.items():
                    fits[path] &= one.fits(rows, length, by_row=by_row)
    finally:
        place(model, targets)
    if not all(fits.values()):
        raise InputError(_unfit(model, targets, fits, key))


def _unfit(model: PreTrainedModel, targets: Mapping[str, nn.Linear], fits: Mapping[str, bool], key: str) -> str:
    """What to tell of targets that an adapter does not fit, with those that it does."""
    head = next((path for path, linear in targets.items() if linear is model.get_output_embeddings()), None)
    names = {path: path.rpartition(".")[2] for path in targets}
    bad = {names[path] for path in targets if not fits[path] and path != head}
    good = {names[path] for path in targets if path != head} - bad
    advice = [f"{key}=[{','.join(sorted(good))}]"] if bad and good else []
    if head is not None and not fits[head]:
        bad, advice = bad | {names[head]}, [*advice, f"{key.rpartition('.')[0]}.head=false"]
    instead = f"use {' '.join(advice)}" if good else OTHERS
    return (
        f"{key}: {type(model).__name__} reads the weights of {', '.join(sorted(bad))} itself, or calls them with some "
        f"tokens only, so an adapter there would not be that of its row; {instead}"
    )


def check_adapter(model: PreTrainedModel, settings: Any, objectives: Sequence[str], *, key: str) -> None:
    """Put an adapter on ``model``, in place: rows of one batch must be what each is alone, and every layer must learn.

    ``settings`` are an :class:`mora.model.adapter.AdapterKind` with targets, whose key is ``key``.
    """
    targets = linear_targets(model, settings.targets, head=settings.head, key=key)
    check_targets(model, targets, key=key, by_row=settings.steered)
    adapter: Adapter = settings.attach(model, objectives, seed=0)
    trained = [parameter for group in adapter.groups() for parameter in group["params"]]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in trained:
            if not values.any():
                values.add_(torch.randn(values.shape, generator=generator).to(values))
    ids, mask = _batch(model, LENGTHS, left=True)
    rows = torch.rand(len(ids), len(objectives), generator=generator).to(model.device)
    model.eval()
    with _asked(model, "adapted"):
        with adapter.using(rows):
            together = _logits(model, ids, mask)[mask]
        together.float().pow(2).mean().backward()
        with torch.no_grad():
            alone = []
            for one, kept, row in zip(ids, mask, rows, strict=True):
                with adapter.using(row[None]):
                    alone += _alone(model, one[None], kept[None])
    _compare(model, together, torch.cat(alone), "another preference in the batch changes its log-probabilities")
    idle = sorted(path for path, layer in adapter.layers.items() if all(p.grad is None for p in layer.parameters()))
    if idle:
        raise InputError(f"{key}: an adapter on {idle[0]} of {type(model).__name__} changes nothing; {OTHERS}")


def _forked(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Random numbers that code draws in training mode are given back."""
    return torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else [])


def _batch(model: PreTrainedModel, lengths: Sequence[int], *, left: bool) -> tuple[Tensor, Tensor]:
    """Sequences of ordinary tokens as ids and mask (B, L), padded on one side."""
    embeddings: Any = model.get_input_embeddings()
    size, config = int(embeddings.num_embeddings), model.config.get_text_config()
    special = {getattr(config, f"{name}_token_id", None) for name in ("bos", "eos", "pad")}
    plain = [token for token in range(3, min(size, 200)) if token not in special] or [0]  # media have high numbers
    width = max(lengths)
    ids = torch.full((len(lengths), width), plain[0])  # the embedding of a padding token may be zero and hide a fault
    mask = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        place = slice(width - length, width) if left else slice(length)
        ids[row, place] = torch.tensor([plain[(7 * i + 11 * row) % len(plain)] for i in range(length)])
        mask[row, place] = True
    return ids.to(model.device), mask.to(model.device)


def _logits(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities (B, L, V) of every next token, from a pass as a policy makes it."""
    logits: Tensor = _pass(model, ids, mask, logits_to_keep=ids.shape[1]).logits
    return logits.float().log_softmax(-1)


def _pass(model: PreTrainedModel, ids: Tensor, mask: Tensor, **more: Any) -> Any:
    options = {"attention_mask": mask.long(), "position_ids": position_ids(mask), "use_cache": False}
    return model(input_ids=ids, **options, **more)


def _alone(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """The same (n, V) of each sequence by itself, without padding."""
    pairs = zip(ids, mask, strict=True)
    return [_logits(model, one[kept][None], kept[kept][None])[0] for one, kept in pairs]


def _sampled(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each row that a sample was drawn for, the log-probabilities at its tokens as drawn and in one pass (n, V).

    A row is made to end early and leaves the batch, as rows do in training.
    """
    rows = torch.arange(len(ids), device=ids.device)
    prompts = Prompts(ids=ids, mask=mask, row_ids=rows, texts=[""] * len(ids))
    first, _ = _drawn(model, prompts, ends=[-1])
    tokens, found = _drawn(model, prompts, ends=[int(first[0, 1])])
    for row, logps in enumerate(found):
        whole = torch.cat([ids[row][mask[row]], tokens[row, : len(logps)]])[None]
        (expected,) = _alone(model, whole, torch.ones_like(whole, dtype=torch.bool))
        yield torch.stack(logps), expected[-len(logps) - 1 : -1]


def _drawn(model: PreTrainedModel, prompts: Prompts, *, ends: Sequence[int]) -> tuple[Tensor, list[list[Tensor]]]:
    """Tokens (B, T) by the sampler of training, and for each row the log-probabilities (V,) that they came from."""
    alive = torch.arange(len(prompts.ids), device=prompts.ids.device)
    steps: list[tuple[Tensor, Tensor]] = []

    def note(module: nn.Module, given: Any, output: Any) -> None:
        steps.append((alive, output.logits[:, -1].float().log_softmax(-1)))

    def shrink(kept: Tensor) -> None:
        nonlocal alive
        alive = alive[kept]

    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    options: dict[str, Any] = {"sampling": sampling, "seed": 0, "step": 0, "max_new_tokens": DRAWN, "pad": 0}
    hook = model.register_forward_hook(note)
    try:
        tokens, kept = generate(model, prompts, ends=ends, on_shrink=shrink, **options)
    finally:
        hook.remove()
    found: list[list[Tensor]] = [[] for _ in prompts.ids]
    for step, (rows, logps) in enumerate(steps):
        for row, values in zip(rows.tolist(), logps, strict=True):
            if kept[row, step]:
                found[row].append(values)
    return tokens, found


def _compare(model: PreTrainedModel, found: Tensor, expected: Tensor, what: str) -> None:
    """Raises InputError where root mean squares of difference and of spread are too close together."""
    found, expected = found.detach().float(), expected.detach().float()
    spread = (expected - expected.mean(-1, keepdim=True)).pow(2).mean().sqrt()
    error = float((found - expected).pow(2).mean().sqrt() / spread)
    exact = model.dtype == torch.float32 and getattr(model.config, "quantization_config", None) is None
    allowed = TOLERANCE if exact else COARSE
    if not error <= allowed:
        raise InputError(
            f"{type(model).__name__}: {what}, by {error:.2g} of their spread (allowed {allowed:g}); try "
            f"model.attention=eager, or {OTHERS}"
        )


@contextmanager
def _asked(model: PreTrainedModel, what: str) -> Iterator[None]:
    """What the code of a model raises is said of the model, which cannot be ``what``; memory that is used up is not."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except CALLED as error:
        if "alloc" in str(error).lower():  # of memory, as processors and libraries say it
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{type(model).__name__} cannot be {what} ({reason}); {OTHERS}") from error
