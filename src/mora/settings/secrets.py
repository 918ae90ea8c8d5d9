"""Secrets are masked wherever settings are written: files of a run, names of folders, messages, pages.

A secret is what stands under a key that says so (``api_key``, ``password``), what has the form of a known kind of
token, and what an environment variable with such a name holds.  What stands under such a key is hidden in all the
other settings too.  Keys that the user chooses, such as names of objectives, say nothing: there only the form counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mora.settings.declared import OPEN
from mora.settings.overrides import parse, values

HIDDEN = "(hidden)"
SHORTEST = 8  # characters of a secret that is looked for wherever it may stand

_LIBRARIES = ("hydra", "model.kwargs", "tracker.kwargs", "runtime.deepspeed")  # open sections whose keys are not names
NAMED: tuple[str, ...] = (*(section for section in OPEN if section not in _LIBRARIES), "dataset.floors", "runs")
"""Sections whose keys are names that the user chooses."""

_WORDS = frozenset(
    "password passwd passphrase secret secrets credential credentials authorization apikey authtoken jwt cookie".split()
)
_KEYS = frozenset("api access private secret auth account encryption ssh subscription".split())  # before `key`
_TOKENS = frozenset(  # before `token`; other tokens are of text
    "access admin api app auth azure bearer bot ci client company csrf deploy gh github gitlab hf hub huggingface id "
    "jwt login npm oauth openai org personal pypi refresh secret security service session slack team wandb".split()
)
_FORMS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bhf_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{16,}|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
    r"|\bglpat-[\w-]{16,}|\bxox[abeprs]-[\w-]{10,}|\bxapp-[\w-]{10,}|\bwandb_v\d+_\w{16,}|\bnpm_[A-Za-z0-9]{20,}"
    r"|\bAIza[\w-]{30,}|\bA[KS]IA[0-9A-Z]{16}\b(?::[^\s@\"']+(?=@))?|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|(?<=Bearer )\S{8,}|(?<=Basic )[A-Za-z0-9+/=]{8,}"
    r"|(?<=://)[^/\s:@\"']+:[^/\s\"']+(?=@)|(?<=http://)[^/\s@\"']+(?=@)|(?<=https://)[^/\s@\"']+(?=@)",
    re.DOTALL,
)
_QUERY = re.compile(r"(?<=[?&])(?P<key>[\w.\-]+)=(?P<value>[^&\s#\"']+)")  # of an address
_SIGNED = re.compile(r"(?:.*[-_])?(?:signature|sig|key)", re.IGNORECASE)  # keys of an address that grant access
_KEY = re.compile(r"""(?<![\w.\-/@])(?P<key>[\w.\-/@]+)(?P<sign>["']?[ \t]*:[ \t]*|["']?=)""")  # key=value, key: value
_NEXT = re.compile(r",(?:\s|[+~]*[A-Za-z_][\w./@\-]*=(?!=*(?:[,\s]|$)))")  # what follows a value in a list of overrides
_OVERRIDE = re.compile(r"[+~]*(?P<key>[A-Za-z_][\w./@\-]*)=(?P<value>.*)", re.DOTALL)
_PLAIN = re.compile(r"null|true|false|\?\?\?|<[^<>]*>|[-+]?\d*\.\d+(?:e[-+]?\d+)?|\d{1,3}|", re.IGNORECASE)  # no secret
_FORTY = re.compile(r"[0-9a-f]{40}")  # a key of Weights & Biases; a commit too, so it needs a key that says so


@lru_cache(maxsize=4096)  # of a pure function: every key of a tree is asked for many times
def is_secret_key(key: str) -> bool:
    """Whether ``key`` (its last part, where it is dotted) names a secret; ``tokenizer`` and ``eos_token`` do not."""
    if _is_named(key):
        return False
    last = re.split(r"[./@]", key)[-1]
    words = re.split(r"[_\-\s]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower())
    if _WORDS & set(words):
        return True
    if len(words) == 1:
        return words == ["token"]
    return words[-1] in ("key", "token") and words[-2] in (_KEYS if words[-1] == "key" else _TOKENS)


def _is_named(key: str) -> bool:
    """Whether a dotted key is a section whose keys the user chooses, or lies below one."""
    return any(f".{section}." in f".{key.lstrip('+~')}." for section in NAMED)


def masked(value: Any, within: Any = None) -> Any:
    """A plain tree of settings with each secret in it replaced.

    ``within`` are the settings that ``value`` is a part of or was made with: their secrets are hidden here too.
    """
    known = {secret for tree in (value, within) for secret in _secrets(tree, "", False)}
    return _masked(value, "", False, _longest_first(known))


def masked_values(value: Any) -> Any:
    """A tree whose keys are names or results, not settings: only texts in it that hold a secret are replaced."""
    if isinstance(value, Mapping):
        return {name: masked_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked_values(item) for item in value]
    return _masked(value, "", False, []) if isinstance(value, str) else value


def _masked(value: Any, key: str, secret: bool, known: list[str]) -> Any:
    """``secret`` says that a key further up names a secret."""
    if isinstance(value, Mapping):
        below = {name: f"{key}.{name}" if key else str(name) for name in value}
        return {
            name: _masked(item, below[name], secret or is_secret_key(below[name]), known)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _without(_masked_override(item), known) if not secret and isinstance(item, str) and _OVERRIDE.match(item)
            else _masked(item, key, secret, known)
            for item in value
        ]  # fmt: skip
    if not isinstance(value, str):
        counts = value is None or isinstance(value, bool | float) or "token" in key.lower()
        return value if counts or not secret else HIDDEN
    if secret and value not in ("", "???"):
        return HIDDEN
    if _FORTY.fullmatch(value) and key.lower().endswith("key") and not _is_named(key):
        return HIDDEN
    text = masked_text(value) if _OVERRIDE.match(value) and not _is_named(key) else _without_known(value)
    return _without(text, known)


def _secrets(value: Any, key: str, secret: bool) -> Iterator[str]:
    """Texts that stand under keys of secrets, in settings and in overrides among them."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            below = f"{key}.{name}" if key else str(name)
            yield from _secrets(item, below, secret or is_secret_key(below))
    elif isinstance(value, list | tuple):
        for item in value:
            if not secret and isinstance(item, str) and _OVERRIDE.match(item):
                yield from _secrets_of_override(item) or ()
            yield from _secrets(item, key, secret)
    elif secret and isinstance(value, str) and not _PLAIN.fullmatch(value) and "${" not in value:
        yield value


def _secrets_of_override(text: str) -> list[str] | None:
    """What Hydra's grammar reads under keys of secrets in ``key=value``; None where it cannot read it."""
    if not _speaks_of_secrets(text):
        return []
    try:
        (override,) = parse([text])[0]
        said = values(override)
    except (HydraException, OmegaConfBaseException, ValueError):
        return None
    key = override.key_or_group
    return [found for value in said for found in _secrets(value, key, is_secret_key(key))]


def _speaks_of_secrets(text: str) -> bool:
    return any(is_secret_key(word) for word in re.findall(r"[\w\-]+", text))


def _masked_override(text: str) -> str:
    """One override with each secret in it replaced: its whole value where it cannot be told what in it is secret."""
    found = _OVERRIDE.match(text)
    if found is None or _is_named(found["key"]) or not _speaks_of_secrets(text):
        return _without_known(text)
    shown, secrets = masked_text(text), _secrets_of_override(text)
    if _PLAIN.fullmatch(found["value"]):
        return shown
    if is_secret_key(found["key"]) or secrets is None or any(secret in shown for secret in secrets):
        return text[: found.start("value")] + HIDDEN
    return shown


def masked_text(text: str) -> str:
    """A message, an override or a command with each secret in it replaced."""
    text, at, shown, known = _without_known(text), 0, "", set()
    for found in _KEY.finditer(text):
        key, begin = found["key"], found.end()
        if found.start() < at:
            continue
        end = _end_of_value(text, found)
        value = text[begin:end]
        secret = is_secret_key(key) or key.lower().endswith("key") and _FORTY.fullmatch(value)
        if secret and not _PLAIN.fullmatch(value.strip("\"'")):
            shown, at = shown + text[at:begin] + HIDDEN, end
            known.add(value.strip("\"'"))
        elif _is_named(key):
            shown, at = shown + text[at:end], end
    return _without(shown + text[at:], _longest_first(known - {HIDDEN}))


def _end_of_value(text: str, found: re.Match[str]) -> int:
    """Where a value ends that begins after ``found``: brackets and quotations are whole, and so is a sweep."""
    begin, mapped = found.end(), ":" in found["sign"]
    inside = mapped and text.count("{", 0, begin) > text.count("}", 0, begin)
    spaces = len(text) if inside else int(found["key"].lower().endswith("authorization"))
    at, depth = begin, 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 2
            continue
        if character in "\"'":
            if not (depth or at == begin or text[at - 1] in ",="):
                break
            at = _end_of_quotation(text, at)
            continue
        depth += (character in "([{") - (character in ")]}")
        spaces -= depth == 0 and character == " "
        if depth < 0 or depth == 0 and (spaces < 0 or _ends(text, at, mapped)):
            break
        at += 1
    return min(at, len(text))


def _ends(text: str, at: int, mapped: bool) -> bool:
    if text[at] == ",":
        return mapped or bool(_NEXT.match(text, at))
    return text[at] in "\n\r\t" or text[at] == "&" and not mapped


def _end_of_quotation(text: str, at: int) -> int:
    closed = re.compile(rf"{text[at]}(?:\\.|[^\\{text[at]}])*{text[at]}", re.DOTALL).match(text, at)
    return closed.end() if closed else len(text)


def _without_known(text: str) -> str:
    text = _without(text, _of_environment())
    return _FORMS.sub(HIDDEN, _QUERY.sub(_without_grant, text))


def _without_grant(found: re.Match[str]) -> str:
    grants = is_secret_key(found["key"]) or _SIGNED.fullmatch(found["key"])
    return f"{found['key']}={HIDDEN}" if grants else found[0]


def _without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _longest_first(secrets: set[str]) -> list[str]:
    return sorted((secret for secret in secrets if len(secret) >= SHORTEST), key=len, reverse=True)


def _of_environment() -> list[str]:
    """Values of environment variables whose names say that they are secret, the longest first."""
    named = {value for name, value in os.environ.items() if is_secret_key(name) or name.lower().endswith("_token")}
    return _longest_first(named)
