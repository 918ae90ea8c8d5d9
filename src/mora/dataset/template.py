"""Chat templates, which come with models of others: rendered in a sandbox, within limits of work and of size.

A template is a program in Jinja.  The sandbox keeps it from files and from Python's own objects; this module keeps it
from using up memory and time: every repetition, joined text and step of a loop is counted before it is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mora.turns import Turn

SIZE = 2**20  # characters and items that one value may have, beside a share for the texts of the conversation
SHARE = 16  # such values for each character of the conversation
STEPS = 2**18  # of loops, calls and joined texts of one rendering; one more for each of these, and each character:
TEXT, ITEMS = 2**10, 2**6  # characters of a text, items of a list, that are looked at
NUMBER = 2**17  # of the numbers that calls and filters take
BITS = 2**12  # of any number
FILTERS = (
    "abs attr bool capitalize count d default dictsort e escape first float forceescape groupby indent int items join "
    "last length list lower map max min reject rejectattr replace reverse round safe select selectattr sort string sum "
    "title tojson trim unique upper wordcount"
).split()  # none makes text of a number, as center does; what indent may do is checked
METHODS = (
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace "
    "istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit "
    "rstrip split splitlines startswith strip swapcase title upper"
).split()  # of texts


class TemplateLimitError(jinja2.TemplateError):
    """A template asks for more memory or work than any conversation needs."""


def rendered(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], *, generate: bool) -> str:
    """The text of ``turns`` in the chat template, with ``generate`` up to where the next answer starts.

    As ``tokenizer.apply_chat_template(..., tokenize=False)`` gives it.  Raises ``jinja2.TemplateError`` where the
    template refuses the turns, fails on them, or exceeds the limits.
    """
    try:
        environment, template = _compiled(tokenizer.get_chat_template())
    except (RecursionError, MemoryError, SyntaxError) as error:  # of Python, which compiles what Jinja makes of it
        raise TemplateLimitError(f"{type(error).__name__} while it was compiled") from error
    values = {"messages": [dict(turn) for turn in turns], "tools": None, "documents": None}
    environment.begin(sum(len(turn["content"]) for turn in turns), values["messages"])
    try:
        return template.render(**values, add_generation_prompt=generate, **tokenizer.special_tokens_map)
    except jinja2.TemplateError:
        raise
    except (RecursionError, MemoryError) as error:
        raise TemplateLimitError(f"{type(error).__name__} while it was rendered") from error
    except Exception as error:  # a template may do anything that Python's operators refuse
        raise jinja2.TemplateRuntimeError(f"{type(error).__name__}: {error}") from error


@lru_cache(maxsize=32)
def _compiled(template: str) -> tuple[BoundedEnvironment, jinja2.Template]:
    environment = BoundedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    return environment, environment.from_string(template)


class _Generation(Extension):
    """``{% generation %}`` marks what a model says, for masks; the text is what stands within."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements within, as they are."""
        next(parser.stream)
        return [nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True))]


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox with limits on the steps of a rendering and on the size of every value.

    Not to be shared by threads.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begin(0, None)
        known = {**self.filters, "tojson": _tojson}
        self.filters = {name: self._bounded(name, known[name]) for name in FILTERS if name in known}
        self.filters |= {"_counted": self._counted, "_joined": self._joined, "_sized": self._sized}
        self.globals |= {"raise_exception": _refuse, "strftime_now": _undated}
        del self.globals["lipsum"]
        self.concat = self._joined  # type: ignore[method-assign]

    def begin(self, characters: int, turns: Any) -> None:
        """A rendering of a conversation, ``turns`` with so many characters, begins."""
        self.turns = turns  # are not looked through at every call that they are handed to
        self.steps, self.most_steps, self.most = 0, STEPS + characters, SIZE + SHARE * characters

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The template with every loop counted, and every ``~``, list and dict measured."""
        tree = _measured(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use an attribute: of texts, what cannot pad them."""
        return super().is_safe_attribute(obj, attr, value) and (not isinstance(obj, str) or attr in METHODS)

    def wrap_str_format(self, value: Any) -> None:
        """No text is formatted: a width may be of any size."""

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The value of ``left operator right``, where it is not too large."""
        self._step()
        if operator == "*":
            for items, times in ((left, right), (right, left)):
                if isinstance(items, str | list | tuple) and isinstance(times, int):
                    self._check(len(items) * times)
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * right)
        if operator == "%" and isinstance(left, str):
            raise TemplateLimitError("it formats text with %, which may make text of any length; ~ joins texts")
        return self._sized(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """What a function, method or macro gives, where it is not too large."""
        self._step()
        self._check_arguments((*args, *kwargs.values()))
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            self._check_made(obj.__name__, (owner, *args))
        return self._sized(super().call(context, obj, *args, **kwargs))

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)  # with the marks by which Jinja hands in its context
        def bounded(*args: Any, **kwargs: Any) -> Any:
            self._step()
            self._check_arguments((*args, *kwargs.values()))
            own = [arg for arg in args if not isinstance(arg, nodes.EvalContext)]
            if name == "join":
                items = list(own[0])
                args = tuple(items if arg is own[0] else arg for arg in args)
                self._check_made(name, (str(kwargs.get("d", own[1] if len(own) > 1 else "")), items))
            elif name in ("replace", "indent"):
                self._check_made(name, (str(own[0]), *own[1:], *kwargs.values()))
            return self._sized(function(*args, **kwargs))

        return bounded

    def _step(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > self.most_steps:
            raise TemplateLimitError(f"it takes more than {self.most_steps} steps")

    def _check(self, size: int) -> None:
        if size > self.most:
            raise TemplateLimitError(f"it makes a value of more than {self.most} characters and items")

    def _check_arguments(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, int) and abs(value) > NUMBER:
                raise TemplateLimitError(f"it calls something with a number above {NUMBER}")
            self._sized(value)

    def _check_made(self, name: str, texts: Sequence[Any]) -> None:
        """What ``replace``, ``join`` and ``indent`` are about to make of texts."""
        if name == "indent":
            width = max((len(w) if isinstance(w, str) else int(w) for w in texts[1:]), default=4)
            self._check(len(texts[0]) + (1 + len(texts[0].splitlines())) * width)
        if name == "replace" and len(texts) > 2:
            text, old, new = texts[0], str(texts[1]), str(texts[2])
            self._check(len(text) + text.count(old) * len(new))
        if name == "join" and len(texts) > 1 and isinstance(texts[1], list | tuple):
            self._check(sum(len(texts[0]) + len(str(part)) for part in texts[1]))

    def _sized(self, value: Any) -> Any:
        """``value``, where it is not too large, with all that it holds."""
        if isinstance(value, str):
            self._check(len(value))
            self._step(len(value) // TEXT)
        elif isinstance(value, int):
            _check_bits(value.bit_length())
        elif isinstance(value, _CONTAINERS) and value is not self.turns:
            size, items, waiting = 0, 0, [value]
            while waiting:
                held = waiting.pop()
                items += 1
                size += 1 + (len(held) if isinstance(held, str | list | tuple | dict) else 0)
                self._check(size)
                waiting += _held(held)
            self._step(items // ITEMS)
        return value

    def _counted(self, items: Any) -> Any:
        return items if isinstance(items, jinja2.Undefined) else _Counted(items, self._step)

    def _joined(self, parts: Iterable[Any]) -> str:
        found, length = [], 0
        for part in parts:
            found.append(str(part))
            self._step(1 + len(found[-1]) // TEXT)
            length += len(found[-1])
            self._check(length)
        return "".join(found)


_CONTAINERS = (list, tuple, dict, Namespace)


def _held(value: Any) -> list[Any]:
    if isinstance(value, Namespace):
        return [object.__getattribute__(value, "_Namespace__attrs")]
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list | tuple) else []


class _Counted:
    """Items of a loop, each of which is a step."""

    def __init__(self, items: Any, step: Callable[[], None]) -> None:
        self._items, self._step = items if hasattr(items, "__len__") else list(items), step

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._step()
            yield item


def _measured(node: Any) -> Any:
    """A node of a template with filters that count and measure put around what it and its children make."""
    for field, value in node.iter_fields():
        if isinstance(value, list):
            value[:] = [_measured(item) if isinstance(item, nodes.Node) else item for item in value]
        elif isinstance(value, nodes.Node):
            setattr(node, field, _measured(value))
    if isinstance(node, nodes.For):
        node.iter = _filtered(node.iter, "_counted")
    if isinstance(node, nodes.Concat):
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")
    if isinstance(node, nodes.List | nodes.Dict) or isinstance(node, nodes.Tuple) and node.ctx == "load":
        return _filtered(node, "_sized")
    return node


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _check_bits(bits: int) -> None:
    if bits > BITS:
        raise TemplateLimitError(f"it makes a number of more than {BITS} bits")


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    if indent is not None and indent > 16:
        raise TemplateLimitError(f"it indents JSON by {indent} characters")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _undated(form: Any) -> None:
    """What the template of a loaded tokenizer no longer calls: the date stands in it (``model.template_date``)."""
    raise jinja2.TemplateError(f"it asks for today in a form that is no date written in the call ({str(form)[:20]!r})")


def _refuse(message: Any) -> None:
    raise jinja2.TemplateError(str(message))
