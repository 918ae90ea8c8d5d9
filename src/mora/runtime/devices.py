"""The processes and devices of one launch, under Accelerate."""

from __future__ import annotations

import atexit
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, gather_object
from torch import Tensor

from mora import bounds
from mora.bounds import Count, Positive, Seed
from mora.errors import InputError, correctable
from mora.runtime.deepspeed_plugin import deepspeed_plugin, launched_with_deepspeed
from mora.runtime.watchdog import Watchdog, meeting_store

BACKSTOP = 60.0  # seconds after which torch ends a wait that the watchdog, which says more, has not ended
T = TypeVar("T")
Rows = TypeVar("Rows", bound=Any)


def available_cores() -> int:
    """Cores that this process may use; where the system does not say, as macOS, those that there are."""
    allowed = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if allowed is None else len(allowed(0))


@dataclass(kw_only=True, eq=False)
class Runtime:
    """`runtime=default`; the fields are the keys of conf/runtime/*.yaml.  Made once per process.

    Holds the Accelerator.  Raises ``InputError`` when the launcher started more processes than Accelerate sees, or when
    the named device does not exist.
    """

    device_type: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    micro_batch: Count | None
    sample_batch: Count | None
    workers: Count | None
    save_every: Count
    keep_checkpoints: Count
    deterministic: bool
    threads: Count | None
    fresh: bool
    seed: Seed
    timeout: Positive
    timeout_step: Positive
    deepspeed: Mapping[str, Any]
    accelerator: Accelerator = field(init=False, repr=False)
    _watchdog: Watchdog | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        """Join the process group, seed everything and set threads and determinism."""
        self._check()
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.benchmark = False
        cpu = self.device_type == "cpu" or (self.device_type == "auto" and not torch.cuda.is_available())
        torch.use_deterministic_algorithms(self.deterministic, warn_only=not cpu)
        backend = "gloo" if cpu else "nccl"
        process_group = InitProcessGroupKwargs(backend=backend, timeout=timedelta(seconds=self.timeout + BACKSTOP))
        distributed = "LOCAL_RANK" in os.environ
        zero = distributed and launched_with_deepspeed()
        plugin = deepspeed_plugin(cpu=cpu, extra=self.deepspeed) if zero else None
        self.accelerator = Accelerator(
            cpu=cpu and not zero,
            mixed_precision="no",  # `autocast` is the one place for bf16, the same with and without DeepSpeed
            deepspeed_plugin=plugin,
            kwargs_handlers=[process_group] if distributed else [],
        )
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        if self.accelerator.num_processes != launched:
            raise InputError(
                f"the launcher started {launched} processes (WORLD_SIZE) but Accelerate works with "
                f"{self.accelerator.num_processes}; launch as described in launch/README.md, without --cpu"
            )
        if launched > 1:
            atexit.register(leave_group)
            store = meeting_store(self.rank, launched, self.broadcast)
            watchdog = Watchdog(store, self.rank, launched, short=self.timeout_step, long=self.timeout)
            self.barrier()  # every place is in the store
            self._watchdog = watchdog
            watchdog.start()
            atexit.register(watchdog.stop)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        self.reseed()

    def _check(self) -> None:
        bounds.check(self, "runtime")
        if self.device_type not in ("auto", "cpu", "cuda"):
            raise InputError(f"runtime.device_type is {self.device_type!r}; set auto, cpu or cuda")
        if self.device_type == "cuda" and not torch.cuda.is_available():
            raise InputError("runtime.device_type is cuda but torch sees no CUDA device; set auto or cpu")
        if self.precision not in ("fp32", "bf16"):
            raise InputError(f"runtime.precision is {self.precision!r}; set fp32 or bf16")

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return int(self.accelerator.process_index)

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return int(self.accelerator.num_processes)

    @property
    def main(self) -> bool:
        """Whether this process is rank 0, the only one that writes."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device(self.accelerator.device)

    def autocast(self) -> torch.autocast:
        """A context (or decorator) in which matrix products run in ``precision``; weights keep their own."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def share(self, rows: Rows) -> Rows:
        """This rank's contiguous slice of ``rows`` (indices, a list or a tensor; split along its first axis).

        Raises ``InputError`` when the rows do not split evenly.
        """
        count, world_size = len(rows), self.world_size
        if count % world_size:
            below, above = count // world_size * world_size, (count // world_size + 1) * world_size
            fitting = f"{below} or {above}" if below else f"{above}"
            raise InputError(
                f"{count} rows cannot be split evenly over {world_size} processes; set the batch size to a multiple of "
                f"{world_size} (such as {fitting}), or launch another number of processes"
            )
        each = count // world_size
        return rows[self.rank * each : (self.rank + 1) * each]

    def at(self, phase: str, *, long: bool) -> None:
        """Say that all ranks begin ``phase``, for the message about one that stays behind.

        ``long``: one rank may take ``timeout`` longer than the others, not only ``timeout_step``.
        """
        if self._watchdog is not None:
            self._watchdog.at(phase, long=long)

    def within(self, part: str) -> None:
        """Say that all ranks begin a part of the phase."""
        if self._watchdog is not None:
            self._watchdog.within(part)

    @contextmanager
    def _meeting(self, name: str) -> Iterator[None]:
        """All ranks meet, and wait for each other."""
        if self._watchdog is not None:
            self._watchdog.meet(name)
        yield
        if self._watchdog is not None:
            self._watchdog.meet("")

    def sum(self, tensor: Tensor) -> Tensor:
        """The elementwise sum over ranks, on every rank; same shape on all ranks."""
        with self._meeting("sum"):
            return self.accelerator.reduce(tensor.to(self.device), reduction="sum")

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks joined along the first axis in rank order; same shape on all ranks."""
        with self._meeting("gather"):
            return self.accelerator.gather(tensor.to(self.device).contiguous())

    def collect(self, items: Sequence[T]) -> list[T]:
        """The lists of all ranks joined in rank order, on every rank (texts, rows, numbers)."""
        if self.world_size == 1:
            return list(items)
        with self._meeting("collect"):
            return list(gather_object(list(items)))

    def broadcast(self, value: T) -> T:
        """Rank 0's ``value`` on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        with self._meeting("broadcast"):
            broadcast_object_list(box, from_process=0)
        return box[0]

    def on_main(self, work: Callable[[], T]) -> T:
        """Run ``work`` on rank 0 and give its result to every rank; an exception is raised on all of them."""
        if self.world_size == 1:
            return work()
        result: T | None = None
        error: Exception | None = None
        if self.main:
            try:
                result = self._alone(work)
            except Exception as caught:
                error = caught
        problem = None if error is None else correctable(error)
        user, message = self.broadcast((problem is not None, problem or (None if error is None else str(error))))
        if error is not None:
            raise error
        if message is not None:
            raise InputError(message) if user else RuntimeError(f"rank 0 failed: {message}")
        return self.broadcast(result)  # type: ignore[return-value]

    def _alone(self, work: Callable[[], T]) -> T:
        """Work while the other ranks wait for this one."""
        if self._watchdog is None:
            return work()
        self._watchdog.alone = True
        try:
            return work()
        finally:
            self._watchdog.alone = False

    def barrier(self) -> None:
        """Wait until every rank is here."""
        with self._meeting("barrier"):
            self.accelerator.wait_for_everyone()

    def reseed(self, step: int | None = None) -> None:
        """Seed python, numpy and torch from (seed, step, rank), so that no generator state has to be kept to resume.

        Without ``step``, before a stage begins, all ranks draw the same.
        """
        key = [self.seed & 0xFFFFFFFF] if step is None else [self.seed & 0xFFFFFFFF, step, self.rank]
        words = np.random.SeedSequence(key).generate_state(2)
        random.seed(int(words[0]))
        np.random.seed(int(words[0]))
        torch.manual_seed((int(words[0]) << 32 | int(words[1])) & (2**63 - 1))


def leave_group() -> None:
    """End the process group in order; a group that still has threads at the interpreter's end aborts the process.

    After an uncaught exception NCCL is left alone: it could wait for ranks that will never answer.
    """
    group = torch.distributed
    if group.is_initialized() and (group.get_backend() == "gloo" or "last_value" not in vars(sys)):
        group.destroy_process_group()
