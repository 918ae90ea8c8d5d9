"""Features of a trunk that stays as it is, computed once and kept in files that other runs find by content.

Heads on a frozen trunk cost one pass over the data, however many kinds, seeds and learning rates are tried on it.  A
file holds the features of some sequences in their order; its name is a hash of the sequences, its folder's one of the
trunk: weights, configuration, precision, attention and pooling.  Sequences are read in an order and in batches that
depend on them alone, so the same features come out whichever run asks first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from transformers import __version__

from mora.errors import InputError
from mora.files import exclusive, new_file
from mora.model.score_model import ScoreModel
from mora.runtime.console import say
from mora.runtime.devices import Runtime
from mora.tensors import load_tensors

SCHEMA = 1  # of a file
AT_ONCE = 2**12  # tokens of a pass, padding included
EVERY = 10.0  # seconds between two lines about progress, at least
PER_FILE = 2**16  # tokens of a file: what an interrupted pass loses at most

NAMES = ("_name_or_path", "transformers_version", "architectures", "dtype")  # of a configuration: no feature depends on
Ids = NDArray[np.integer]


class FeatureFiles:
    """Features (N, H) in fp32 of token sequences by the one backbone of ``model``, in files below ``root``.

    The model is in evaluation mode and its trunk is not trained while this is used.  ``runtime``: its processes share
    the work, and all of them ask together; None: this process works alone.
    """

    def __init__(self, root: Path, model: ScoreModel, pad: int, runtime: Runtime | None) -> None:
        if len(model.backbones) != 1:
            raise ValueError(f"features are kept of one backbone, not of {len(model.backbones)}")
        self.root, self.model, self.pad, self.runtime = root, model, pad, runtime
        self.read = 0  # sequences that the trunk read here

    def of(self, sequences: Sequence[Ids], what: str) -> Tensor:
        """Features (N, H) of ``sequences``, in their order, on the CPU; ``what`` they are is told where it takes long.

        Raises InputError for a file that is damaged.
        """
        keys = [np.asarray(ids, dtype="<i4").tobytes() for ids in sequences]
        ordered = sorted(set(keys), key=lambda key: (len(key), key))
        files = list(_files(ordered))
        missing = sum(not (self.folder / _name(some)).is_file() for some in files)
        if missing and self._main:
            say(f"features of {len(ordered)} {what} by the frozen trunk: computed once, into {self.folder}")
        parts, begin, told = [], monotonic(), monotonic()
        for number, some in enumerate(files):
            parts.append(self._file(some))
            if missing and self._main and monotonic() - told > EVERY and number + 1 < len(files):
                told = monotonic()
                left = (told - begin) / (number + 1) * (len(files) - number - 1)
                say(f"features: {number + 1} of {len(files)} files, {left:.0f} s left")
        place = {key: row for row, key in enumerate(ordered)}
        index = torch.tensor([place[key] for key in keys], dtype=torch.int64)
        return torch.cat(parts)[index] if parts else torch.zeros(0, self.model.backbones.hidden)

    @cached_property
    def folder(self) -> Path:
        """Where the files of this trunk lie."""
        trunk, digest = self.model.backbones.trunks[0], hashlib.sha256()
        known = [SCHEMA, self.model.pooling, trunk.config._attn_implementation, torch.__version__, __version__]
        config = {key: value for key, value in trunk.config.to_dict().items() if key not in NAMES}
        known += [type(trunk).__name__, str(trunk.dtype), self.pad, self.model.device.type, config]
        digest.update(json.dumps(known, sort_keys=True, default=str).encode())
        for name, tensor in sorted(trunk.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return self.root / digest.hexdigest()[:32]

    def _file(self, keys: Sequence[bytes]) -> Tensor:
        """The features of one file, made where it lacks.  Runs of one process wait for the one that makes it."""
        path = self.folder / _name(keys)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._agreed(path.is_file()):
            with exclusive(path) if self._alone else nullcontext():
                if not (self._alone and path.is_file()):
                    features = self._computed(keys)
                    if self._main:
                        with new_file(path) as place:
                            save_file({"features": features}, place)
                    return features
        remedy = f"delete {path}, and it is made again"
        features = load_tensors(path, remedy).get("features", torch.zeros(0))
        shape = (len(keys), self.model.backbones.hidden)
        if features.shape != shape or features.dtype != torch.float32 or not bool(features.isfinite().all()):
            raise InputError(f"{path}: its features are no {shape[0]} x {shape[1]} finite numbers in fp32; {remedy}")
        return features

    @torch.no_grad()
    def _computed(self, keys: Sequence[bytes]) -> Tensor:
        features = torch.zeros(len(keys), self.model.backbones.hidden)
        batches = list(_batches(keys))
        runtime = self.runtime
        rank, ranks = (0, 1) if runtime is None else (runtime.rank, runtime.world_size)
        for start, end in batches[rank::ranks]:
            ids, mask = self._padded([np.frombuffer(key, dtype="<i4") for key in keys[start:end]])
            features[start:end] = self.model.features(ids, mask)[0].float().cpu()
            self.read += end - start
        if runtime is None:
            return features
        return runtime.sum(features.to(runtime.device)).cpu()

    def _padded(self, sequences: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        width = len(sequences[-1])  # sorted by length
        ids = np.full((len(sequences), width), self.pad, dtype=np.int64)
        mask = np.zeros((len(sequences), width), dtype=bool)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, True
        return torch.from_numpy(ids).to(self.model.device), torch.from_numpy(mask).to(self.model.device)

    @property
    def _alone(self) -> bool:
        return self.runtime is None or self.runtime.world_size == 1

    @property
    def _main(self) -> bool:
        return self.runtime is None or self.runtime.main

    def _agreed(self, here: bool) -> bool:
        """Whether the file is there for every process; where one does not see it, all compute."""
        if self.runtime is None:
            return here
        return int(self.runtime.sum(torch.tensor([float(not here)], device=self.runtime.device))[0]) == 0


def _name(keys: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for key in keys:
        digest.update(len(key).to_bytes(4, "little") + key)
    return f"{digest.hexdigest()[:32]}.safetensors"


def _files(ordered: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Sorted sequences cut into what a file holds each."""
    files, begin, tokens = [], 0, 0
    for number, key in enumerate(ordered):
        tokens += len(key) // 4
        if tokens >= PER_FILE:
            files.append(ordered[begin : number + 1])
            begin, tokens = number + 1, 0
    return files if begin == len(ordered) else [*files, ordered[begin:]]


def _batches(keys: Sequence[bytes]) -> list[tuple[int, int]]:
    """Where the batches of a pass begin and end: as many sorted sequences as ``AT_ONCE`` tokens take."""
    batches, begin = [], 0
    for end in range(1, len(keys) + 1):
        if end == len(keys) or (end + 1 - begin) * (len(keys[end]) // 4) > AT_ONCE:
            batches.append((begin, end))
            begin = end
    return batches
