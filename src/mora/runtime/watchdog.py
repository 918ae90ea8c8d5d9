"""Which process the others wait for: every process says where it is, and waiting for one that is late has an end."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta

from torch.distributed import TCPStore

from mora.errors import FAILED

TICK = 1.0  # seconds between two looks at the others
STORE_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a process is: how many meeting points it has reached, what it does there, and whether that may be long."""

    reached: int
    what: str
    long: bool


class Lateness:
    """How long each process has been behind another one without reaching a further meeting point, by one clock."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[int, float]] = {}

    def behind(self, places: Mapping[int, Place], now: float) -> dict[int, float]:
        """Seconds (of the clock of ``now``) by the rank of each process that another one is ahead of."""
        first = max(place.reached for place in places.values())
        late = {rank: place.reached for rank, place in places.items() if place.reached < first}
        kept = {rank: self._since.get(rank, (-1, now)) for rank in late}
        self._since = {rank: kept[rank] if kept[rank][0] == late[rank] else (late[rank], now) for rank in late}
        return {rank: now - since for rank, (_, since) in self._since.items()}


def meeting_store(rank: int, world_size: int, share: Callable[[int], int]) -> TCPStore:
    """A store of all processes, kept by rank 0; ``share`` hands its port to the others."""
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    if rank == 0:
        store = TCPStore(host, 0, world_size, is_master=True, timeout=STORE_TIMEOUT, wait_for_workers=False)
        share(store.port)
        return store
    return TCPStore(host, share(0), world_size, is_master=False, timeout=STORE_TIMEOUT)


class Watchdog:
    """A thread in each of several processes that reads where the others are, and ends a launch that waits in vain.

    ``short`` and ``long`` are seconds that a process may be behind the others: in a training step, and in what may take
    one process long (data, evaluation, writing).  Then the first of those that wait says who is late and in what, the
    late one shows its stack, and all leave with exit code 1.  Torch's own time limit, which names neither, stays behind
    it.
    """

    def __init__(self, store: TCPStore, rank: int, world_size: int, *, short: float, long: float) -> None:
        self._store, self._rank, self._world_size = store, rank, world_size
        self._limits = {False: ("runtime.timeout_step", short), True: ("runtime.timeout", long)}
        self._phase, self._part, self._long = "start", "", True
        self._reached, self._meeting = 0, ""
        self.alone = False  # rank 0 works while the others wait for it; may be long
        self._lateness, self._stopped = Lateness(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._publish()

    def start(self) -> None:
        """Begin to look; all processes have made theirs."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def at(self, phase: str, *, long: bool) -> None:
        """All processes begin ``phase``."""
        self._phase, self._part, self._long, self._reached = phase, "", long, self._reached + 1

    def within(self, part: str) -> None:
        """All processes begin a part of the phase."""
        self._part, self._reached = part, self._reached + 1

    def meet(self, name: str) -> None:
        """This process has reached a meeting point of all, and waits there; an empty name: it goes on."""
        self._meeting, self._reached = name, self._reached + bool(name)

    @property
    def place(self) -> Place:
        """Where this process is."""
        doing = f"{self._phase}: {self._part}" if self._part else self._phase
        what = f"{self._meeting} in {doing}" if self._meeting else doing
        return Place(reached=self._reached, what=what, long=self._long or self.alone)

    def _publish(self) -> None:
        self._store.set(str(self._rank), json.dumps(asdict(self.place)))

    def _watch(self) -> None:
        while not self._stopped.wait(TICK):
            try:
                self._publish()
                read = {rank: json.loads(self._store.get(str(rank))) for rank in range(self._world_size)}
            except RuntimeError:  # rank 0, which keeps the store, is gone: its launcher ends the others
                return
            places = {rank: Place(**place) for rank, place in read.items()}
            behind = self._lateness.behind(places, time.monotonic())
            late = [rank for rank, seconds in behind.items() if seconds > self._limits[places[rank].long][1]]
            if late and not self._stopped.is_set():
                self._end(places, behind, late)

    def _end(self, places: Mapping[int, Place], behind: Mapping[int, float], late: list[int]) -> None:
        waiting = [rank for rank in places if rank not in behind]
        if self._rank == waiting[0]:
            for rank in late:
                name, limit = self._limits[places[rank].long]
                print(
                    f"error: rank {rank} is {behind[rank]:.0f} s behind, at {places[rank].what}; rank {waiting[0]} "
                    f"waits at {places[waiting[0]].what}. All processes end ({name}={limit:g}); rank {rank} shows its "
                    "stack if it still can. The same command goes on from the last state that was kept",
                    file=sys.stderr,
                    flush=True,
                )
        if self._rank in late:
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        time.sleep(2 * TICK)  # the others see the same, and say it
        os._exit(FAILED)
