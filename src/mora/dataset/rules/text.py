"""Rules about the text of an answer, each from 0 (worst) to 1 (best).  Words are what stands between spaces."""

from __future__ import annotations

import importlib.util
import json as json_format
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mora.errors import InputError, install_hint

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")  # letters, with apostrophes inside
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_VOWELS = re.compile(r"[aeiouy]+")
_ITEM = re.compile(r"\s*(?:[-*•‣–]|\(?\d{1,3}[.)]|[a-zA-Z][.)])\s+\S")
_NUMBER = re.compile(r"(?<![\d.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
_REFUSAL = re.compile(
    r"\b(?:i(?:'|’)?m sorry|i am sorry|i apologi[sz]e|my apologies|i (?:can(?:not|'t|’t)|am (?:unable|not able) to|"
    r"(?:won't|won’t|will not)) (?:\w+ )?(?:help|assist|answer|provide|comply|do|give|discuss|engage|fulfil|support)|"
    r"as an? (?:ai|artificial intelligence)(?: (?:language )?(?:model|assistant|system|chatbot))?(?:,| i)|"
    r"i must (?:decline|refuse))(?!\w)",
    re.IGNORECASE,
)


def length(prompt: str, response: str, *, best: float, worst: float) -> float:
    """1 at ``best`` words and beyond, 0 at ``worst`` words and beyond, linear between them; nothing said scores 0.

    With ``best`` below ``worst`` brevity, with ``best`` above it length.  Raises InputError where the two are equal.
    """
    if best == worst:
        raise InputError(
            f"a rule of length with best={best:g} and worst={worst:g}: give two different numbers of words"
        )
    words = len(response.split())
    return min(max((worst - words) / (worst - best), 0.0), 1.0) if words else 0.0


def reading_ease(prompt: str, response: str) -> float:
    """Flesch reading ease / 100, clipped: 206.835 - 1.015 words per sentence - 84.6 syllables per word (Flesch 1948).

    Syllables are counted as groups of vowels, less a silent final e.  An answer without a word scores 0.
    """
    words = _WORD.findall(response)
    if not words:
        return 0.0
    sentences = max(len(_SENTENCE_END.findall(response)), 1)
    ease = 206.835 - 1.015 * len(words) / sentences - 84.6 * sum(map(syllables, words)) / len(words)
    return min(max(ease / 100, 0.0), 1.0)


def syllables(word: str) -> int:
    """Syllables of an English word by its spelling, at least 1."""
    word = word.lower()
    count = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee", "ye", "oe")) and count > 1
    return max(count - silent, 1)


def sentiment(prompt: str, response: str) -> float:
    """The compound valence of VADER, moved to 0 (negative) .. 1 (positive); .5 is neutral (Hutto and Gilbert 2014).

    Raises InputError where the package vaderSentiment is missing.
    """
    return (float(_vader().polarity_scores(response)["compound"]) + 1) / 2


@lru_cache(maxsize=1)
def _vader() -> Any:
    if importlib.util.find_spec("vaderSentiment") is None:
        raise InputError(f"a rule of sentiment needs the package vaderSentiment; {install_hint('real')}")
    return importlib.import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()


def no_lists(prompt: str, response: str) -> float:
    """The share of lines with text that are no items of a list (``- ...``, ``1. ...``, ``a) ...``); nothing said: 0."""
    lines = [line for line in response.splitlines() if line.strip()]
    return 1 - sum(bool(_ITEM.match(line)) for line in lines) / len(lines) if lines else 0.0


def keywords(prompt: str, response: str, *, words: Sequence[str]) -> float:
    """The share of ``words`` (or phrases) that the answer mentions, in any case.  Raises InputError for none."""
    if not words:
        raise InputError("a rule of keywords with words=[]: name at least one word")
    whole = [rf"(?<!\w){re.escape(word)}(?!\w)" for word in words]
    return sum(bool(re.search(pattern, response, re.IGNORECASE)) for pattern in whole) / len(words)


def no_refusal(prompt: str, response: str) -> float:
    """1, or 0 where nothing is said or the answer apologizes, declines, or speaks of itself as an AI."""
    return float(bool(response.strip()) and not _REFUSAL.search(response))


def json(prompt: str, response: str) -> float:
    """1 where the answer as a whole is a JSON object or array, alone or in one fenced block, else 0."""
    text = response.strip()
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, re.DOTALL)
    try:
        value = json_format.loads(fenced.group(1) if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return 0.0
    return float(isinstance(value, dict | list))


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


def number(prompt: str, response: str, *, reference: str) -> float:
    """1 where the last number of the answer is the last number of the dataset's own answer (GSM8K's measure), else 0.

    Thousands may be separated by commas.  Raises InputError where the dataset's answer has no number.
    """
    expected, found = _last_number(reference), _last_number(response)
    if expected is None:
        raise InputError(f"a rule of a number, and the dataset's answer to {prompt[:60]!r} has none")
    return float(found == expected)


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
