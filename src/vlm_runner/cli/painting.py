"""Text for a screen, in spans that have a meaning; colours are added where the stream is a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TextIO, TypeAlias

import click

from vlm_runner import environment
from vlm_runner.redact import printable, redacted

COLOURS: Final[dict[str, dict[str, Any]]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "money": {"fg": "yellow"},
    "now": {"fg": "cyan"},
    "quiet": {"dim": True},
    "head": {"bold": True},
}
"""By what a span means. Never the only carrier of it: the words say the same."""


class Span(NamedTuple):
    """A piece of a line, and what it means: a key of `COLOURS`."""

    text: str
    meaning: str = ""


Line: TypeAlias = Sequence[Span | str] | str


def plain(lines: Iterable[Line]) -> str:
    """The lines without colour, safe to print."""
    return "\n".join("".join(text for text, _ in _spans(line)) for line in lines)


def painted(lines: Iterable[Line], stream: TextIO) -> str:
    """The lines as `stream` should get them; each span is made safe before it is coloured."""
    if not (stream.isatty() and environment.wants_colour()):
        return _encodable(plain(lines), stream)
    return _encodable("\n".join(_coloured(line) for line in lines), stream)


def _coloured(line: Line) -> str:
    return "".join(
        click.style(text, **COLOURS[meaning]) if meaning else text for text, meaning in _spans(line)
    )


def _spans(line: Line) -> list[Span]:
    parts = [line] if isinstance(line, str) else line
    spans = [Span(part) if isinstance(part, str) else part for part in parts]
    return [Span(printable(redacted(text)), meaning) for text, meaning in spans]


def _encodable(text: str, stream: TextIO) -> str:
    """Marks that the stream's encoding lacks become those of ASCII."""
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for mark, simple in (("✓", "x"), ("✗", "!"), ("▸", ">"), ("·", "-"), ("…", "...")):
            text = text.replace(mark, simple)
        return text.encode(encoding, "replace").decode(encoding)
    return text
