"""
What a template may cost: text, steps and seconds, so that no spec and no row can fill memory or hang a run.

Jinja2's sandbox keeps a template from reaching Python, but not from asking for five gigabytes of blanks. So
what makes text larger is measured before it is done, and each turn of a loop is counted.
"""

from __future__ import annotations

import re
import threading
import time
from functools import wraps
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateRuntimeError, nodes, pass_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CHARACTERS: Final = 20_000_000
"""That one value, or all that one rendering prints, may have; the longest record has some million."""
STEPS: Final = 100_000
"""Turns of all loops and macros of one rendering."""
SECONDS: Final = 10.0
"""Of CPU time for one rendering; the largest page takes some milliseconds."""
WIDTH: Final = 100_000
"""A number given to a method or a filter, such as a width."""
POWER: Final = 10_000
"""Bits of the result of `**`."""

_RUN = re.compile(r"\S+|\s+")
_WIDE = re.compile(r"[1-9]\d{5}|\*")
TICK: Final = "_tick"
CONCAT: Final = "_concat"
MEASURED: Final = "_measured"
COMPARISONS: Final = (
    *("eq", "equalto", "==", "ne", "!=", "in"),
    *("lt", "lessthan", "<", "le", "<=", "gt", "greaterthan", ">", "ge", ">="),
)
"""Tests that look into lists: one that holds another twice, which does so too, takes no memory, but ages."""
WRAPPING: Final = 4_000_000_000
"""Sum of the squares of words and blanks that are wrapped: Python's own takes a second for so many."""
OWN: Final = 32
"""That a list or the like counts beside what it holds: a nest of small ones is counted in a second."""
FEW: Final = 64
"""Characters of a printed value that is not counted, since the count would take longer than the printing."""
SHORT: Final = 10_000
"""Characters of a text that no filter without arguments can make too long; most values are shorter."""


class TooMuch(TemplateRuntimeError):
    """A template asks for more than a prompt can need; the message is a clause without a final period."""


class _Meter(threading.local):
    steps = 0
    characters = 0
    checks = 0
    until: float | None = None
    """By the thread's CPU clock, at which nobody looks in a short rendering: a look is a system call."""

    def begin(self) -> None:
        self.steps, self.characters, self.checks, self.until = STEPS, CHARACTERS, 0, None

    def step(self, characters: int) -> str:
        self.steps -= 1
        if self.steps < 0:
            raise TooMuch(f"it takes more than {STEPS:,} turns of its loops")
        self.check()
        if characters:
            self.printed(characters)
        return ""

    def check(self) -> None:
        self.checks += 1
        if not self.checks % 64:
            now = time.thread_time()
            if self.until is None:
                self.until = now + SECONDS
            elif now > self.until:
                raise TooMuch(f"it takes more than {SECONDS:.0f} s of CPU time")

    def printed(self, characters: int) -> None:
        self.characters -= characters
        if self.characters < 0:
            raise _too_long()


METER: Final = _Meter()


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """Call `METER.begin()` before each rendering."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters = {name: _limited(name, each) for name, each in self.filters.items()}
        self.filters |= {TICK: _tick, CONCAT: _concatenated, MEASURED: _measured}
        self.tests = self.tests | {name: _comparing(self.tests[name]) for name in COMPARISONS}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counted().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > POWER:
                raise TooMuch("a number becomes too large")
        elif operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(times, int) and not isinstance(value, int | float):
                    _fits(size(value) * max(times, 0))
        elif operator == "+" and not isinstance(left, int | float):
            _fits(size(left) + size(right))
        elif operator == "%" and isinstance(left, str):
            _fits(size(left) + size(right))
            _check_format(left, (right,))
        return super().call_binop(context, operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(obj, _measured(argument))

    def call(self, context: Any, obj: Any, *arguments: Any, **named: Any) -> Any:
        METER.check()
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            _check_method(name, owner, (*arguments, *named.values()))
        else:
            _check_arguments("", (*arguments, *named.values()))
        return _checked(super().call(context, obj, *arguments, **named))


class _Counted(NodeTransformer):
    """
    Counts each turn of a loop and each call of a macro, and makes `~` a filter, which can be measured.

    What is compared, and what becomes a key, is measured too: both look into all that a value holds.
    """

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja2's protocol
        return _ticking(node, self)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return _ticking(node, self)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        pieces = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(pieces, CONCAT, [], [], None, None, lineno=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _measuring(node.expr)
        for operand in node.ops:
            operand.expr = _measuring(operand.expr)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.key = _measuring(node.key)
        return node


def _measuring(node: nodes.Expr) -> nodes.Expr:
    if isinstance(node, nodes.Const):
        return node
    return nodes.Filter(node, MEASURED, [], [], None, None, lineno=node.lineno)


def _measured(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        _fits(size(value))
    return value


def _comparing(test: Any) -> Any:
    @wraps(test)
    def measured(*arguments: Any) -> Any:
        return test(*map(_measured, arguments))

    return measured


def _ticking(node: nodes.For | nodes.Macro, visitor: NodeTransformer) -> nodes.Node:
    visitor.generic_visit(node)
    own = sum(len(each.data) for each in node.find_all(nodes.TemplateData))
    tick = nodes.Filter(nodes.Const(own), TICK, [], [], None, None)
    counted = nodes.ExprStmt(tick).set_lineno(node.lineno, override=True)
    node.body.insert(0, counted)
    return node


def size(value: Any) -> int:
    """Characters of a value, about, as often as it holds them; counted no further than CHARACTERS."""
    if isinstance(value, str):
        return len(value)
    total, waiting = 0, [value]
    while waiting and total <= CHARACTERS:
        each = waiting.pop()
        if isinstance(each, str | bytes):
            total += len(each)
        elif isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
            total += 4 * len(each) + OWN
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += each
            total += 2 * len(each) + OWN
        else:
            total += 1
    return total


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)  # with the marks by which Jinja2 passes it the context
    def limited(*arguments: Any, **named: Any) -> Any:
        METER.check()
        if len(arguments) == 1 and not named and type(arguments[0]) is str and len(arguments[0]) < SHORT:
            made = function(*arguments)
            return made if type(made) is str and len(made) <= CHARACTERS else _checked(_settled(made))
        # Some filters get a context, an environment or the like first.
        given = (*(_settled(each) for each in arguments), *named.values())
        _check_arguments(name, given)
        settled = given[: len(arguments)]
        return _checked(_settled(function(*settled, **named)))

    return limited


@pass_context  # else Jinja2 would evaluate it once, when the template is compiled
def _tick(_: object, characters: int) -> str:
    return METER.step(characters)


def _concatenated(pieces: list[Any]) -> str:
    """What `~` makes of its operands."""
    total = 0
    for each in pieces:
        kind = type(each)
        total += len(each) if kind is str else 1 if kind is int else size(each)
    _fits(total)
    return "".join(map(str, pieces))


def _settled(value: Any) -> Any:
    """What a filter yields lazily, as a list: a generator can be measured by nobody."""
    if not isinstance(value, GeneratorType):
        return value
    found, total = [], 0
    for each in value:
        METER.check()
        found.append(each)
        total += size(each) + 1
        _fits(total)
    return found


def _check_arguments(name: str, arguments: Iterable[Any]) -> None:
    texts = [each for each in arguments if isinstance(each, str | list | tuple | dict)]
    numbers = [each for each in arguments if isinstance(each, int) and not isinstance(each, bool)]
    for each in texts:
        _fits(size(each))
    subject = texts[0] if texts else ""
    for number in numbers:
        if number > WIDTH:
            raise TooMuch(f"{number:,} is too large a number for a method or filter")
        if isinstance(subject, str):
            # The most that a width can add: to every line and tab.
            _fits((subject.count("\n") + subject.count("\t") + 1) * number)
    if name in {"format", "format_map"} and isinstance(subject, str):
        _check_format(subject, arguments)
    if name == "replace" and isinstance(subject, str) and len(texts) > 2:
        _fits(subject.count(str(texts[1])) * len(texts[2]) + len(subject))
    if isinstance(subject, str):
        _check_text(name, subject, texts[1:])
    if name == "join" and len(texts) > 1 and not isinstance(subject, dict):
        _fits(len(subject) * len(texts[1]) + size(subject))


def _check_text(name: str, subject: str, others: Sequence[Any]) -> None:
    if name == "translate":
        for table in others:
            made = table.values() if isinstance(table, dict) else table
            _fits(len(subject) * max(map(size, made), default=1))
    elif name == "wordwrap" and sum(len(run) ** 2 for run in _RUN.findall(subject)) > WRAPPING:
        raise TooMuch("it wraps lines whose words or blanks are too long")


def _check_method(name: str, owner: str, arguments: tuple[Any, ...]) -> None:
    if name == "join":
        pieces = [_settled(each) for each in arguments]
        _check_arguments("join", [*pieces, owner])
    else:
        _check_arguments(name, [owner, *arguments])


def _check_format(text: str, arguments: Iterable[Any]) -> None:
    if _WIDE.search(text) or any(isinstance(each, int) and each > WIDTH for each in arguments):
        if not re.search(r"%[^%a-zA-Z]*(\d{6}|\*)|\{[^}]*\d{6}", text):
            return
        raise TooMuch("a format asks for too wide a field")


def _checked(value: Any) -> Any:
    if type(value) is str:
        _fits(len(value))
    elif isinstance(value, str | list | tuple | dict):
        _fits(size(value))
    return value


def _fits(characters: int) -> None:
    if characters > CHARACTERS:
        raise _too_long()


def _too_long() -> TooMuch:
    return TooMuch(f"it makes more than {CHARACTERS:,} characters")
