"""No template fills memory or hangs a run: it ends in a sentence with the row, soon."""

# ruff: noqa: E501 - a template a line
from __future__ import annotations

import time
import tracemalloc

import pytest

from vlm_runner.errors import ConfigurationError
from vlm_runner.prompts import compile_prompt
from vlm_runner.prompts.limits import CHARACTERS
from vlm_runner.spec import PromptSpec

TWICE = "{% set n = namespace(a=(1,), b=(1,)) %}{% for i in range(60) %}{% set n.a = (n.a, n.a) %}{% set n.b = (n.b, n.b) %}{% endfor %}"
"""Two tuples that hold 2 ** 60 numbers each, and take no memory."""
HOSTILE = {
    "translate": "{{ ('x' * 200000).translate({120: 'y' * 200000}) }}",
    "translate by a list": "{{ ('\\x00' * 200000).translate(['y' * 200000]) }}",
    "blanks that are wrapped": "{{ ((' ' * 1000000) ~ 'x')|wordwrap(3) }}",
    "a word that is wrapped": "{{ ('x' * 1000000)|wordwrap(1) }}",
    "equal": TWICE + "{{ n.a == n.b }}",
    "in": TWICE + "{{ n.a in [n.b] }}",
    "the test eq": TWICE + "{{ n.a is eq(n.b) }}",
    "the test in": TWICE + "{{ n.a is in([n.b]) }}",
    "a key": TWICE + "{{ {n.a: 1}|length }}",
    "an item": TWICE + "{% set d = {1: 1} %}{{ d[n.a] }}",
    "format of a tuple": TWICE + "{{ '%s' % [n.a] }}",
    "unique": TWICE + "{{ [n.a, n.b]|unique|list|length }}",
    "count": TWICE + "{{ [n.a].count(n.b) }}",
    "width": "{{ 'x'.ljust(5000000000) }}",
    "width of a filter": "{{ 'x'|center(5000000000) }}",
    "width of every line": "{{ ('\\n' * 1000000)|indent(90000) }}",
    "tabs": "{{ ('\\t' * 1000000).expandtabs(90000) }}",
    "times": "{{ 'x' * 5000000000 }}",
    "times a list": "{{ ['x' * 1000000] * 100000 }}",
    "power": "{{ 9 ** 99999 }}",
    "format": "{{ '%5000000000d' % 1 }}",
    "format method": "{{ '{:5000000000}'.format(1) }}",
    "format filter": "{{ '%5000000000d'|format(1) }}",
    "replace": "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
    "replace filter": "{{ ('x' * 1000000)|replace('x', 'y' * 1000000) }}",
    "join": "{{ ('y' * 1000000).join('x' * 1000000) }}",
    "join filter": "{{ (['y' * 1000000] * 10)|join('x' * 5000000) }}",
    "doubling by ~": "{% set n = namespace(x='xxxxxxxxxx') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}"
    "{% endfor %}{{ n.x }}",
    "doubling by +": "{% set n = namespace(x='xxxxxxxxxx') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}"
    "{% endfor %}{{ n.x }}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops over text": "{% for a in html %}{% for b in html %}{% for c in html %}{% endfor %}{% endfor %}{% endfor %}",
    "printing much": "{% for a in range(99999) %}{{ html }}{% endfor %}",
    "printing a list": "{% set x = [html] %}{% for a in range(20000) %}{{ x }}{% endfor %}",
    "printing much into a variable": "{% set x %}{% for a in range(99999) %}{{ html }}{% endfor %}{% endset %}",
    "recursion": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "a filter that fails": "{{ html|xmlattr }}",
    "lazy filters": "{{ range(99999)|map('string')|map('center', 99999)|list }}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_a_template_that_asks_for_too_much_ends_in_a_sentence(template: str) -> None:
    prompt = compile_prompt(PromptSpec(user=template, assistant="ok"))
    began = time.thread_time()

    with pytest.raises(ConfigurationError, match=r"user template cannot be rendered for train row 3: .+"):
        prompt.render({"html": "<p>" * 400}, subset="train", row=3)

    assert time.thread_time() - began < 20


def test_a_template_that_is_compiled_after_another_was_rendered_is_limited_as_well() -> None:
    """A count that Jinja2 takes for constant would be taken once, when the template is compiled."""
    compile_prompt(PromptSpec(user="first", assistant="ok")).render({"html": "<p>"}, subset="train", row=0)
    prompt = compile_prompt(PromptSpec(user=HOSTILE["nested loops"] + "second", assistant="ok"))

    with pytest.raises(ConfigurationError, match="100,000 turns"):
        prompt.render({"html": "<p>"}, subset="train", row=0)


@pytest.mark.parametrize(
    "template",
    [
        "{{ (['y'] * 300)|join(html) }}",
        "{{ html.join(['y'] * 300) }}",
        "{{ html.replace('x', html[:300]) }}",
        "{{ html|replace('x', html[:300]) }}",
        "{{ html * 300 }}",
    ],
)
def test_what_would_be_too_long_is_refused_before_it_fills_memory(template: str) -> None:
    prompt = compile_prompt(PromptSpec(user=template, assistant="ok"))
    tracemalloc.start()

    try:
        with pytest.raises(ConfigurationError, match="makes more than 20,000,000 characters"):
            prompt.render({"html": "x" * 300_000}, subset="train", row=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 20_000_000


def test_a_long_text_is_searched_for_a_long_one() -> None:
    """What is searched for, and how often it could fit, makes nothing longer."""
    prompt = compile_prompt(PromptSpec(user="{{ html|replace(html[:5000] ~ '!', '') }}", assistant="ok"))

    rendered = prompt.render({"html": "x" * 5000 + "!" + "y" * 10_000}, subset="train", row=0)

    assert rendered.user == "y" * 10_000


@pytest.mark.parametrize("template", ["{{ html.replace('a', 'b') }}", "{{ html|replace('a', 'b') }}"])
def test_text_that_looks_like_a_wide_format_is_only_text(template: str) -> None:
    html = "%999999d of {:999999}"

    rendered = compile_prompt(PromptSpec(user=template, assistant="ok")).render(
        {"html": html}, subset="train", row=0
    )

    assert rendered.user == html


@pytest.mark.parametrize("times", ["0", "-1", "false"])
def test_even_the_longest_text_is_nothing_when_taken_no_times(times: str) -> None:
    prompt = compile_prompt(
        PromptSpec(user=f"{{{{ html * {times} }}}}{{{{ {times} * html }}}}!", assistant="ok")
    )

    assert prompt.render({"html": "x" * (CHARACTERS + 1)}, subset="train", row=0).user == "!"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ html ~ 1 ~ '!' }}", "<p>1!"),
        ("{{ '%05.1f|%s' % (2.5, html) }}", "002.5|<p>"),
        ("{{ '{:>6}'.format(html) }}", "   <p>"),
        ("{{ html.ljust(5) }}|{{ html|center(7) }}", "<p>  |  <p>  "),
        (
            "{% for a in range(3) %}{{ loop.index }}/{{ loop.length }}{{ ', ' if not loop.last }}{% endfor %}",
            "1/3, 2/3, 3/3",
        ),
        ("{{ [3, 1]|sort|map('string')|join('-') }}", "1-3"),
        ("{{ [{'a': 1}, {'a': 2}]|sum(attribute='a') }}", "3"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(2 ** 10) }}", "<1024>"),
        ("{{ html|replace('<', '[') }}{{ html.replace('<', '(') }}", "[p>(p>"),
        ("{% for a in [[1, [2]]] recursive %}{{ a[0] }}{% endfor %}", "1"),
    ],
)
def test_what_templates_are_for_works_as_before(template: str, text: str) -> None:
    rendered = compile_prompt(PromptSpec(user=template, assistant="ok")).render(
        {"html": "<p>"}, subset="t", row=0
    )

    assert rendered.user == text


def test_a_number_of_too_many_digits_is_an_error_of_the_spec() -> None:
    """Found by fuzzing: Jinja2's lexer lets Python's ValueError through."""
    text = "{% turn 'user' %}{{" + "9" * 5000 + "}}{% endturn %}"

    with pytest.raises(ConfigurationError, match="number of too many digits"):
        compile_prompt(PromptSpec(turns=text))
