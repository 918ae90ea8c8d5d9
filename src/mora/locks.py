"""Locks between processes: flock where the filesystem has it, elsewhere a file that names its holder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mora.errors import InputError, naming

POLL = 1.0  # seconds between two attempts to take a lock
WITHOUT = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # what a filesystem without flock answers


class Lock:
    """The lock at ``path``, a file beside what it guards.  It ends with ``release``, and with the process.

    Without flock (some mounts of NFS and Lustre) a file ``<path>.holder`` names host and process.  One whose process
    is gone is taken over on the same host; on another host nobody can know that, and a person deletes the file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path):
            self._handle: IO[str] = self.path.open("a", encoding="utf-8")
        self._holder = self.path.with_name(f"{self.path.name}.holder")
        self._by_file = False
        self._who: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "lock": uuid.uuid4().hex}

    def take(self) -> bool:
        """Whether the lock is ours now.  Does not wait."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in WITHOUT:
                raise
            with naming(self.path):
                return self._take_file()
        return True

    def release(self) -> None:
        """Give the lock back; may be repeated."""
        if self._by_file and self._read() == self._who:
            self._holder.unlink()
        self._by_file = False
        self._handle.close()

    @property
    def held_by(self) -> str:
        """Who has the lock, where that can be known, and what to do when it is gone; else empty."""
        other = self._read()
        if other is None:
            return ""
        return f" (process {other['pid']} on {other['host']}; if it is gone, delete {self._holder})"

    def _take_file(self) -> bool:
        """Link a file with our name to the holder's: that happens as a whole, or not at all."""
        own = self.path.with_name(f"{self.path.name}.{self._who['lock']}")
        own.write_text(json.dumps(self._who), encoding="utf-8")
        try:
            for _ in range(2):
                try:
                    os.link(own, self._holder)
                except FileExistsError:
                    if not self._bury():
                        return False
                else:
                    self._by_file = True
                    return True
            return False
        finally:
            own.unlink()

    def _bury(self) -> bool:
        """Remove the mark of a holder that died on this host; whether it was removed."""
        other = self._read()
        if other is None or other["host"] != self._who["host"] or alive(int(other["pid"])):
            return False
        grave = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
        try:
            os.rename(self._holder, grave)
        except FileNotFoundError:
            return True
        if json.loads(grave.read_text(encoding="utf-8")) != other:  # somebody was quicker, and holds it now
            os.link(grave, self._holder)
        grave.unlink()
        return True

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._holder.read_text(encoding="utf-8"))
            return {"host": str(found["host"]), "pid": int(found["pid"]), "lock": str(found["lock"])}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self._holder} names no holder of a lock; delete it if no process uses it") from None


def alive(pid: int) -> bool:
    """Whether this host has a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def held(path: Path | str) -> Iterator[None]:
    """Wait for the lock at ``path``, and hold it."""
    lock = Lock(path)
    try:
        while not lock.take():
            time.sleep(POLL / 10)
        yield
    finally:
        lock.release()
