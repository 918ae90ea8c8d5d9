"""Secrets are masked wherever settings are written: files of a run, names of folders, messages, pages.

A secret is what stands under a key that says so (``api_key``, ``password``), what has the form of a known kind of
token, and what an environment variable with such a name holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(hidden)"
SHORTEST = 8  # characters of an environment variable's value that is looked for

_WORDS = frozenset(
    "password passwd passphrase secret secrets credential credentials authorization apikey authtoken jwt cookie".split()
)
_KEYS = frozenset("api access private secret auth account encryption ssh subscription".split())  # before `key`
_ORDINARY = frozenset(  # before `token`: a token of text, or what counts them
    "eos bos pad unk sep cls mask stop start end image audio video decoder forced new next first last per special bad "
    "add prefix suffix middle boi eoi begin ignore split tool user assistant system".split()
)
_FORMS = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{16,}|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
    r"|\bglpat-[\w-]{16,}|\bxox[abeprs]-[\w-]{10,}|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|(?<=Bearer )\S{8,}|(?<=Basic )[A-Za-z0-9+/=]{8,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_VALUE = r"""(?P<value>\{[^{}]*\}|\[[^\[\]]*\]|"[^"]*"|'[^']*'|[^,\s{}\[\]&"']+)"""
_SET = re.compile(r"(?P<key>[\w.\-/@]+)=" + _VALUE)  # key=value
_MAPPED = re.compile(r"""(?P<key>(?<=[{,\s"'])[\w.\-]+)["']?\s*:\s*""" + _VALUE)  # {key: value}
_FORTY = re.compile(r"[0-9a-f]{40}")  # a key of Weights & Biases; a commit too, so it needs a key that says so


def is_secret_key(key: str) -> bool:
    """Whether ``key`` (its last part, where it is dotted) names a secret; ``tokenizer`` and ``eos_token`` do not."""
    last = re.split(r"[./@]", key)[-1]
    words = re.split(r"[_\-\s]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower())
    if _WORDS & set(words):
        return True
    before = words[-2] if len(words) > 1 else ""
    return words[-1] == "key" and before in _KEYS or words[-1] == "token" and before not in _ORDINARY


def masked(value: Any, key: str = "") -> Any:
    """A plain tree of settings with each secret in it replaced; ``key`` is where it stands."""
    if isinstance(value, Mapping):
        return {name: masked(item, key if is_secret_key(key) else str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, key) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return HIDDEN if is_secret_key(key) and "token" not in key.lower() else value
    if is_secret_key(key) and value and not value.startswith(("<", "[", "???")):
        return HIDDEN
    if _FORTY.fullmatch(value) and key.lower().endswith("key"):
        return HIDDEN
    return masked_text(value) if re.match(r"[+~]*[A-Za-z_][\w./@]*=", value) else _without_known(value)


def masked_text(text: str) -> str:
    """A message, an override or a command with each secret in it replaced."""

    def hide(found: re.Match[str]) -> str:
        value = found["value"]
        secret = is_secret_key(found["key"]) or found["key"].lower().endswith("key") and _FORTY.fullmatch(value)
        kept = not secret or value in ("null", "true", "false", "???") or value.strip("\"'").startswith("<")
        return found[0] if kept else found[0][: found.start("value") - found.start()] + HIDDEN

    return _MAPPED.sub(hide, _SET.sub(hide, _without_known(text)))


def _without_known(text: str) -> str:
    for secret in _of_environment():
        text = text.replace(secret, HIDDEN)
    return _FORMS.sub(HIDDEN, text)


def _of_environment() -> list[str]:
    """Values of environment variables whose names say that they are secret, the longest first."""
    found = {value for name, value in os.environ.items() if len(value) >= SHORTEST and is_secret_key(name)}
    return sorted(found, key=len, reverse=True)
