"""Locks with flock and without it, and what other processes see of them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys

import pytest

from mora import locks
from mora.errors import InputError
from mora.locks import Lock


@pytest.fixture(params=[None, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS], ids=["flock", "ENOLCK", "ENOTSUP", "ENOSYS"])
def answer(request, monkeypatch):
    """What the filesystem answers to flock; None: it has it."""
    if request.param is not None:

        def flock(*_):
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", flock)
    return request.param


def test_one_holder_at_a_time(tmp_path, answer):
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.take() and not second.take()
    assert (f"process {os.getpid()} on {socket.gethostname()}" in second.held_by) == (answer is not None)
    first.release()
    assert second.take()
    second.release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_another_errno_is_no_lock(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"):
        Lock(tmp_path / "lock").take()


@pytest.fixture
def without_flock(monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


def mark(tmp_path, **changed):
    held = {"host": socket.gethostname(), "pid": os.getpid(), "lock": "x"} | changed
    (tmp_path / "lock.holder").write_text(json.dumps(held))


def test_a_holder_that_died_on_this_host_is_replaced(tmp_path, without_flock):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mark(tmp_path, pid=dead.pid)
    lock = Lock(tmp_path / "lock")
    assert lock.take()
    lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_holder_on_another_host_keeps_it_and_is_named(tmp_path, without_flock):
    mark(tmp_path, host="elsewhere", pid=2**22 + 1)
    lock = Lock(tmp_path / "lock")
    assert not lock.take()
    assert "on elsewhere; if it is gone, delete" in lock.held_by and "lock.holder" in lock.held_by


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "a"}'])
def test_a_mark_that_names_nobody_is_refused(tmp_path, without_flock, text):
    (tmp_path / "lock.holder").write_text(text)
    with pytest.raises(InputError, match=r"lock\.holder names no holder"):
        Lock(tmp_path / "lock").take()


def test_held_waits(tmp_path, monkeypatch):
    other = Lock(tmp_path / "lock")
    assert other.take()
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            other.release()

    monkeypatch.setattr(locks.time, "sleep", sleep)
    with locks.held(tmp_path / "lock"):
        assert len(waits) == 3
