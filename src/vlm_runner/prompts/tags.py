"""Tags of our own: `{% turn "user" %} … {% endturn %}` is a turn, `{% image %}` the place of an image."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateRuntimeError, nodes
from jinja2.ext import Extension

from vlm_runner.prompts.turns import UnplacedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jinja2.parser import Parser
    from jinja2.runtime import Context

    from vlm_runner.prompts.turns import Part

COLLECTED: Final = "__turns__"
"""The variable of a template's context that its turns are added to."""
_SECRET: Final = secrets.token_hex(16)
_MARK: Final = re.compile(rf"\0image {_SECRET} (\d*)\0")
"""What stands for an image until its text is cut there; no data can hold it."""


class TurnTags(Extension):
    tags = {"turn", "image"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        token = next(parser.stream)
        if token.value == "image":
            at_end = parser.stream.current.type == "block_end"
            number = nodes.Const(None) if at_end else parser.parse_expression()
            return nodes.Output([self.call_method("_image", [number])]).set_lineno(token.lineno)
        role = parser.parse_expression()
        body = parser.parse_statements(("name:endturn",), drop_needle=True)
        call = self.call_method("_turn", [role, nodes.ContextReference()])
        return nodes.CallBlock(call, [], [], body).set_lineno(token.lineno)

    def _image(self, number: Any) -> str:
        if number is not None and (type(number) is not int or number < 1):
            raise TemplateRuntimeError(f"images are numbered from 1; there is no image {number!r}")
        return f"\0image {_SECRET} {'' if number is None else number}\0"

    def _turn(self, role: Any, context: Context, caller: Callable[[], str]) -> str:
        turns = context.get(COLLECTED)
        if turns is None:
            raise TemplateRuntimeError("a turn is only allowed in prompt.turns")
        if role not in {"user", "assistant"}:
            raise TemplateRuntimeError(f"a turn is the user's or the assistant's, not {role!r}")
        turns.append((role, caller().removesuffix("\n")))
        return ""


def at_marks(text: str) -> Iterator[Part]:
    """`text`, cut where `{% image %}` stood."""
    if "\0image" not in text:
        yield text
        return
    at = 0
    for match in _MARK.finditer(text):
        if text[at : match.start()].strip():
            yield text[at : match.start()]
        yield UnplacedImage(int(match[1]) - 1 if match[1] else None)
        at = match.end()
    if text[at:].strip():
        yield text[at:]
