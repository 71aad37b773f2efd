"""Lines that are wider than a screen, broken between words: pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

COMMAND: Final = re.compile(
    r"(?:^|: ) *((?:[\w./~-]*vlm-runner|uvx|pipx|pip|[\w./~-]*python3?|aws|export) \S.*)"
)
"""A command to its end, at the start of a line or after a colon: who copies it wants it in one piece."""
WORD: Final = re.compile(r"\S+")
GAP: Final = re.compile(r"(?<=\S) {2,}(?=\S)")
"""Between two columns of a table."""
LABEL: Final = re.compile(r" *[A-Z][\w ]*: +(?=\S)")
"""Such as `Next:    `, at the start of a line."""


class Piece(NamedTuple):
    """What goes on one line of the screen: `text[start:end]`, after `indent` spaces."""

    indent: int
    start: int
    end: int


def folded(text: str, width: int) -> str:
    """`text`, each of its lines broken between words where it is wider than `width` columns."""
    return "\n".join(
        " " * piece.indent + line[piece.start : piece.end]
        for line in text.split("\n")
        for piece in pieces(line, width)
    )


def pieces(line: str, width: int) -> list[Piece]:
    """
    One line as a screen of `width` columns takes it; what follows the first piece is indented to its column.

    A word or command that fits on no line is left to the terminal, which shows it on several and copies it
    as one.
    """
    if len(line) <= width:
        return [Piece(0, 0, len(line))]
    column, inside = _column(line, width), _inside(line)
    found: list[Piece] = []
    start, end, at = 0, 0, 0
    for word in _words(line):
        long = word.end - word.start
        indent = column if long <= width - column else inside
        if word.end - start > width - at and end and long <= width - indent:
            found.append(Piece(at, start, end))
            start, at = word.start, indent
        end = word.end
    return [*found, Piece(at, start, end)]


class _Word(NamedTuple):
    start: int
    end: int


def _words(line: str) -> list[_Word]:
    command = COMMAND.search(line)
    until = len(line) if command is None else command.start(1)
    words = [_Word(*word.span()) for word in WORD.finditer(line, 0, until)]
    if command is None:
        return words
    return [*words, _Word(*command.span(1))]


def _column(line: str, width: int) -> int:
    """Where the last column starts that leaves half of the screen to its text."""
    starts = [gap.end() for gap in GAP.finditer(line)]
    if (label := LABEL.match(line)) is not None:
        starts.append(label.end())
    return max((start for start in starts if start <= width // 2), default=_inside(line))


def _inside(line: str) -> int:
    """A little more than the line's own indentation."""
    return len(line) - len(line.lstrip(" ")) + 2 * line.startswith(" ")
