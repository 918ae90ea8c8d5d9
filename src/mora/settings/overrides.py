"""Overrides as the command line gives them: free text made safe, then parsed by Hydra's grammar."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mora.settings.algorithm import ONE
from mora.settings.declared import OPEN, OVERRIDE_LISTS, is_free_text, is_open, is_path
from mora.settings.home import expanded

_FORM = re.compile(r"^(?P<sign>\+{0,2})(?P<key>[A-Za-z_][\w.]*)=(?P<value>.*)$", re.DOTALL)
_INTERPOLATION = re.compile(r"\$\{[^{}]+\}")


def _parsed(text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, OmegaConfBaseException, ValueError):
        return None


def _is_said(override: Override, multirun: bool, text: str) -> bool:
    """Whether Hydra's reading of a free value is what was meant: null, a list, a mapping, a quotation, or a sweep."""
    value = override._value
    if override.is_sweep_override():
        return multirun
    if value is None or isinstance(value, list | dict | QuotedString):
        return True
    return isinstance(value, str) and value == text and "${" not in text


def _quoted(key: str, text: str, multirun: bool) -> str:
    """The value of a free key in a form that Hydra's grammar reads as exactly this text."""
    override = _parsed(f"{key}={text}")
    if override is not None and _is_said(override, multirun, text):
        return text
    if is_path(key) and _is_list(text):
        return _quoted_items(text)
    if not is_path(key):
        text = _INTERPOLATION.sub(lambda found: "\\" + found.group(), text)
    return QuotedString(text, Quote.single).with_quotes()


def _is_list(text: str) -> bool:
    """Whether ``text`` is several things between one pair of brackets: ``[~/a,b]``, and not ``[ab]*[cd]``."""
    depths = list(itertools.accumulate((character == "[") - (character == "]") for character in text))
    return text.startswith("[") and "," in text and depths[-1] == 0 and 0 not in depths[:-1]


def _quoted_items(text: str) -> str:
    """A list of overrides with each item quoted: ``[algo.steps=5,algo.optimizer.betas=[0.9,0.95]]`` has two of them."""
    inside = text.strip()
    if not (inside.startswith("[") and inside.endswith("]")) or "'" in inside or '"' in inside:
        return text
    items, depth = [""], 0
    for character in inside[1:-1]:
        depth += (character in "[{(") - (character in ")}]")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return f"[{','.join(QuotedString(item.strip(), Quote.single).with_quotes() for item in items if item.strip())}]"


def _is_own_role(key: str) -> bool:
    """Whether ``key`` may name what fills a role that an algorithm alone knows: ``start.ROLE``."""
    section, _, role = key.partition(".")
    return section == "start" and role not in ONE and key not in OVERRIDE_LISTS


def prepare(overrides: Iterable[str], multirun: bool = False) -> list[str]:
    """Overrides ready for Hydra: values of free keys are quoted where needed, keys of open sections may be new."""
    ready: list[str] = []
    for override in overrides:
        form = _FORM.match(override)
        if form is None:
            ready.append(override)
            continue
        sign, key, value = form["sign"], form["key"], form["value"]
        if is_path(key):
            value = expanded(value)
        if is_free_text(key) or is_path(key):
            value = _quoted(key, value, multirun)
        elif key in OVERRIDE_LISTS:
            value = _quoted_items(value)
        if _is_own_role(key) or (is_open(key) or key in OPEN) and not key.startswith("hydra"):
            sign = "++"
        ready.append(f"{sign}{key}={value}")
    return ready


def parse(overrides: Sequence[str], loader: ConfigLoader | None = None) -> tuple[list[Override], list[str]]:
    """Overrides that Hydra's grammar reads, and one message for each that it does not; ``loader`` lists ``glob``."""
    parser = OverridesParser.create(loader)
    parsed: list[Override] = []
    problems: list[str] = []
    for text in overrides:
        if not text.startswith("~") and "=" not in text:
            problems.append(f"{text}: an override has the form key=value")
            continue
        try:
            parsed += parser.parse_overrides([text])
        except (HydraException, OmegaConfBaseException) as error:
            reason = str(error).split("\nSee https://")[0].replace("\n", " ")
            problems.append(f"{text}: cannot be read ({reason}); quote the value: '{text.split('=')[0]}=\"...\"'")
    return parsed, problems


def values(override: Override) -> list[Any]:
    """The value of an override, or every value of a sweep; the two ends of an interval."""
    if not override.is_sweep_override():
        return [] if override.is_delete() else [override.value()]
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return [sweep.start, sweep.end]
    return [
        item.text if isinstance(item, QuotedString) else Override._convert_value(item)
        for item in override.sweep_iterator()
    ]


def named_on(command_line: Sequence[str]) -> list[str]:
    """Packages that a command line lists under ``plugins``; a value that cannot be read is told by the check."""
    lists = [value for o in parse(command_line)[0] if o.key_or_group == "plugins" for value in values(o)]
    return [str(name) for listed in lists if isinstance(listed, list) for name in listed]


def as_text(value: Any) -> str:
    """A value as it stands in an override."""
    return Override._get_value_element_as_str(value)
