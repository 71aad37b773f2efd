"""
Text for a screen, in spans that have a meaning.

Where the stream is a terminal, lines are folded at its width, meanings are coloured, and a command is written
as it can be typed there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TextIO, TypeAlias

import click

from vlm_runner import environment
from vlm_runner.cli.commands import COMMANDS
from vlm_runner.folding import pieces
from vlm_runner.redact import printable, redacted

COLOURS: Final[dict[str, dict[str, Any]]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "money": {"fg": "magenta"},
    "now": {"fg": "cyan"},
    "quiet": {"dim": True},
    "head": {"bold": True},
    "code": {},
}
"""
By what a span means. Never the only carrier of it: the words say the same. Code is not folded.

No yellow, which cannot be read on white.
"""
VERDICTS: Final = {
    "good": "good",
    "unknown": "money",
    "bad": "bad",
    "error": "bad",
    "warning": "money",
    "info": "quiet",
    "create": "good",
    "REFUSED:": "bad",
    "BILLING": "bad",
}
"""What the first word of a line means, where lines are plain text."""
VERDICT: Final = re.compile(rf"( *)({'|'.join(map(re.escape, VERDICTS))})(?=\s|$)")
HEADING: Final = re.compile(r"[A-Z][a-z ]+(?:\([^()]*\))?:$")
OUR_COMMAND: Final = re.compile(rf"(?<![\w./'-])(?<!' )vlm-runner(?= (?:{'|'.join(COMMANDS)})\b)")
"""A command of ours inside a sentence."""
WIDTH_UNKNOWN: Final = 80


class Span(NamedTuple):
    """A piece of a line, and what it means: a key of `COLOURS`."""

    text: str
    meaning: str = ""


Line: TypeAlias = Sequence[Span | str] | str


def plain(lines: Iterable[Line]) -> str:
    """The lines without colour, safe to print."""
    return "\n".join("".join(text for text, _ in _spans(line)) for line in lines)


def read_text(text: str) -> list[Line]:
    """Plain text as lines whose headings and verdicts are marked as such."""
    return [_read_line(line) for line in text.split("\n")]


def _read_line(line: str) -> Line:
    if (verdict := VERDICT.match(line)) is not None:
        blank, word = verdict.groups()
        return [blank, Span(word, VERDICTS[word]), line[verdict.end() :]]
    return [Span(line, "head")] if HEADING.match(line) else line


def painted(lines: Iterable[Line], stream: TextIO) -> str:
    """The lines as `stream` should get them; each span is made safe before it is coloured."""
    if not stream.isatty():
        return _encodable(plain(lines), stream)
    width = width_of(stream)
    rows = [row for line in lines for whole in _split(line) for row in _rows(whole, width)]
    coloured = environment.wants_colour()
    shown = (
        "".join(
            click.style(text, **COLOURS[meaning]) if meaning and coloured else text for text, meaning in row
        )
        for row in rows
    )
    return _encodable("\n".join(shown), stream)


def width_of(stream: TextIO) -> int:
    """Columns of the terminal that `stream` is; 80 where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or WIDTH_UNKNOWN
    except (OSError, ValueError):
        return WIDTH_UNKNOWN


def _split(line: Line) -> Iterator[list[Span]]:
    """Spans may hold line feeds; a line of the screen does not."""
    whole: list[Span] = []
    for text, meaning in _spans(line):
        first, *others = text.split("\n")
        whole.append(Span(first, meaning))
        for other in others:
            yield whole
            whole = [Span(other, meaning)]
    yield whole


def _rows(line: list[Span], width: int) -> Iterator[list[Span]]:
    if any(span.meaning == "code" for span in line):
        yield line
        return
    here = [Span(_typed_here(text), meaning) for text, meaning in line]
    for indent, start, end in pieces("".join(text for text, _ in here), width):
        yield [Span(" " * indent), *_cut(here, start, end)]


def _cut(line: list[Span], start: int, end: int) -> Iterator[Span]:
    at = 0
    for text, meaning in line:
        if part := text[max(0, start - at) : max(0, end - at)]:
            yield Span(part, meaning)
        at += len(text)


def _typed_here(text: str) -> str:
    name = environment.own_command()
    return text if name == "vlm-runner" else OUR_COMMAND.sub(lambda _: name, text)


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
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
