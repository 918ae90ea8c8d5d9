"""YAML that is read as data: bounded in size, depth and aliases, without tags that make objects, never resolved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from mora.errors import InputError

MOST_BYTES = 1_000_000  # of a file
MOST_DEPTH = 32  # of mappings and lists in each other
MOST_NODES = 100_000  # with every alias written out


class _Loader(yaml.SafeLoader):
    """Numbers as Hydra reads them (``1e-3`` is one, a date is text), and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping.  Raises ConstructorError for a key that stands in it twice."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            seen.add((key.tag, getattr(key, "value", None) if isinstance(key, yaml.ScalarNode) else id(key)))
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(
    r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, form) for tag, form in known if not tag.endswith((":timestamp", ":float"))]
    for letter, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_mapping(path: Path | str) -> dict[str, Any]:
    """The keys and values of a YAML file, as they are written: no interpolation is resolved.

    Raises InputError, with file and line, for a file that is missing, no YAML, empty, no mapping, too large, nested too
    deeply, or whose aliases stand for too much.
    """
    path = Path(path)
    content = _value(_text(path), path)
    if content is None:
        raise InputError(f"{path}:1: the file is empty; write keys and values into it, or delete it")
    if not isinstance(content, dict):
        raise InputError(f"{path}:1: holds {type(content).__name__} where a mapping of keys and values is needed")
    odd = [key for key in content if not isinstance(key, str)]
    if odd:
        raise InputError(f"{path}: the key {odd[0]!r} is no text; a key is a name")
    return content


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    if len(raw) > MOST_BYTES:
        raise InputError(f"{path}: larger than {MOST_BYTES} bytes; this is no configuration")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: is no UTF-8 text; save the file as UTF-8") from None


def _value(text: str, path: Path) -> Any:
    try:
        _check_depth(text, path)  # first, since building nodes recurses
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _written_out(node, path, {}, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise InputError(f"{where}: is not YAML that can be read ({reason}); repair the file") from None
    except (
        ValueError
    ) as error:  # a scalar that its form promises and its value is not, such as an integer of many digits
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: holds a value that cannot be read ({error}); repair the file") from None


def _check_depth(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_DEPTH:
            line = event.start_mark.line + 1
            raise InputError(f"{path}:{line}: nested deeper than {MOST_DEPTH} levels; this is no configuration")


def _written_out(node: yaml.Node, path: Path, known: dict[int, int], open_: set[int]) -> int:
    """How many nodes ``node`` is with every alias written out.  Raises InputError for too many, and for a circle."""
    where = f"{path}:{node.start_mark.line + 1}"
    if id(node) in open_:
        raise InputError(f"{where}: an alias stands for what contains it; write the value out")
    if id(node) not in known:
        open_.add(id(node))
        below = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in below for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_written_out(part, path, known, open_) for part in parts)
        open_.remove(id(node))
    if known[id(node)] > MOST_NODES:
        raise InputError(f"{where}: aliases that stand for more than {MOST_NODES} values; write out what is meant")
    return known[id(node)]
