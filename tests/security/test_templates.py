"""A chat template of a stranger takes neither memory nor time, and reaches nothing of Python."""

from __future__ import annotations

import jinja2
import pytest
from tests.security.tokenizers import FAMILIES, fast

from mora.dataset import template as shipped
from mora.dataset.encode import Encoder
from mora.dataset.template import TemplateLimitError, rendered
from mora.errors import InputError

TURNS = [{"role": "user", "content": "how"}, {"role": "assistant", "content": "so"}, {"role": "user", "content": "why"}]
GROW = "{% set n = namespace(a='xxxxxxxx', b='x') %}{% for i in range(60) %}{% set n.a = GROWN %}{% endfor %}{{ n.a }}"
LIMITS = {
    "a repeated text": "{{ 'x' * 10**9 }}",
    "a repeated list": "{{ [1] * 1000000000 }}",
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "a long range": "{% for i in range(10**9) %}x{% endfor %}",
    "doubling by ~": GROW.replace("GROWN", "n.a ~ n.a"),
    "doubling by +": GROW.replace("GROWN", "n.a + n.a"),
    "doubling in a block": GROW.replace(
        "{% set n.a = GROWN %}", "{% set b %}{{ n.a }}{{ n.a }}{% endset %}{% set n.a = b %}"
    ),
    "nested lists": GROW.replace("GROWN", "[n.a, n.a]"),
    "nested tuples": GROW.replace("GROWN", "(n.a, n.a)"),
    "nested dicts": GROW.replace("GROWN", "dict(a=n.a, b=n.a)"),
    "nested namespaces": GROW.replace("GROWN", "namespace(a=n.a, b=n.a)"),
    "lists that are compared": GROW.replace("GROWN", "[n.a, n.a] %}{% set n.b = [n.b, n.b]").replace(
        "{{ n.a }}", "{{ n.a == n.b }}"
    ),
    "a power": "{{ 10 ** 100000000 }}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "wide JSON": "{{ messages | tojson(indent=100000) }}",
    "a wide indent": "{{ ('x\n' * 10000) | indent(100000) }}",
    "a growing replacement": "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
    "a growing filter": "{{ ('x' * 1000) | replace('x', 'y' * 1000000) | replace('y', 'zz') }}",
    "a long join": "{{ ('y' * 1000000).join(['x'] * 100000) }}",
    "a long join filter": "{{ (['x'] * 100000) | join('y' * 1000000) }}",
    "macros that call twice": "{% macro m(n) %}{% if n %}{{ m(n-1) ~ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "large texts again and again": (
        "{% set a = 'x' * 1000000 %}{% for i in range(3000) %}{% if a ~ i %}{% endif %}{% endfor %}"
    ),
    "large lists again and again": (
        "{% set a = range(99999) | list %}{% for i in range(3000) %}{% if a | length %}{% endif %}{% endfor %}"
    ),
    "thousands of parentheses": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "thousands of blocks": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "endless recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}
REFUSED = {
    "format": "{{ '{:1000000000d}'.format(1) }}",
    "format by name": "{{ 'x'['format'](1) }}",
    "a wide date": "{{ strftime_now('%1000000000d') }}",
    "padding": "{{ 'x'.ljust(100000) }}",
    "padding by a filter": "{{ 'x' | center(1000000000) }}",
    "Python's classes": "{{ ''.__class__.__mro__ }}",
    "Python's globals": "{{ raise_exception.__globals__.items() }}",
    "files": "{% include '/etc/passwd' %}",
}


@pytest.fixture
def limited(monkeypatch):
    """Smaller limits: what they stop is stopped sooner."""
    monkeypatch.setattr(shipped, "STEPS", 2**15)


@pytest.mark.parametrize("name", LIMITS)
def test_what_takes_memory_or_time_is_stopped(limited, name):
    tokenizer = fast("bytes", "chatml")
    tokenizer.chat_template = LIMITS[name]
    with pytest.raises(TemplateLimitError):
        rendered(tokenizer, TURNS, generate=True)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_template_needs_is_refused(name):
    tokenizer = fast("bytes", "chatml")
    tokenizer.chat_template = REFUSED[name]
    with pytest.raises(jinja2.TemplateError):
        rendered(tokenizer, TURNS, generate=True)


def test_the_message_says_what_and_what_to_do():
    tokenizer = fast("bytes", "chatml")
    tokenizer.chat_template = LIMITS["a repeated text"]
    with pytest.raises(
        InputError, match=r"the chat template fails on .*: it makes a value of more than .*model.chat_template="
    ):
        Encoder(tokenizer, 40, 9, "error").prompt("how")


USED = (  # what templates of well-known models use
    "{%- set ns = namespace(last=0, seen=false) %}{%- for m in messages[::-1] %}{% if not ns.seen %}{% set ns.last = "
    "(messages|length - 1) - loop.index0 %}{% set ns.seen = true %}{% endif %}{%- endfor %}{{ ns.last }}"
    "{% for m in messages %}{{ loop.index ~ '/' ~ loop.length }}"
    "{{ m.content.split('o')[-1].lstrip('\n') ~ m['role'] | upper }}"
    "{% if m.content is string and m.content.startswith('h') %}{{ m | tojson(indent=4) }}{% endif %}"
    "{% if loop.last %}{% break %}{% endif %}{{ m.get('tool_calls', []) | length }}{% endfor %}"
    "{% macro turn(m) %}<{{ m.role | trim }}>{% endmacro %}{{ turn(messages[0]) }}"
    "{{ messages | map(attribute='content') | join(', ') }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
    "{{ {'a': [1, 2]} | tojson }}{{ tools is none }}"
    "{% generation %}{{ 'x' * 3 }}{{ 7 % 4 }}{% endgeneration %}"
    "{% set b %}-{{ eos_token }}-{% endset %}{{ b | replace('-', '+') }}"
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}"
    "{{ (1, 2) | last }}{{ messages[0].content | e | indent(2) }}"
)  # fmt: skip


@pytest.mark.parametrize("generate", [True, False])
@pytest.mark.parametrize("template", [USED, *(template for template, _ in FAMILIES.values())])
def test_templates_render_as_transformers_renders_them(template, generate):
    tokenizer = fast("bytes", "chatml")
    tokenizer.chat_template = template
    expected = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=generate)
    assert rendered(tokenizer, TURNS, generate=generate) == expected


def test_a_long_conversation_is_no_attack():
    tokenizer = fast("bytes", "chatml")
    turns = [{"role": ("user", "assistant")[i % 2], "content": "how do they run ? " * 20} for i in range(2001)]
    expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert rendered(tokenizer, turns, generate=True) == expected
    assert rendered(tokenizer, [{"role": "user", "content": "x " * 10**6}], generate=True).count("x") == 10**6
