"""Places within a column: `page.shot`, `pages[0].image`, `messages[].content[].image`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{0,9})\]")


@dataclass(frozen=True, slots=True)
class ColumnPath:
    text: str
    """As the spec has it."""
    column: str
    steps: tuple[str | int | None, ...] = ()
    """Keys of objects, numbers of items; None: all items."""

    def of(self, cell: Any) -> Any:
        """What lies there in a cell; None where there is nothing. With `[]`, a list of all that there is."""
        return _walk(cell, self.steps)


def parse(text: str, columns: Collection[str]) -> ColumnPath | None:
    """
    `text` as a place in one of `columns`; None: there is no such column, or it is no path.

    A column of exactly that name is that column, dots or not.
    """
    if text in columns:
        return ColumnPath(text, text)
    start = re.match(r"[^.\[\]]+", text)
    if start is None or start[0] not in columns:
        return None
    steps: list[str | int | None] = []
    position = start.end()
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            return None
        steps.append(step[1] if step[1] is not None else int(step[2]) if step[2] else None)
        position = step.end()
    return ColumnPath(text, start[0], tuple(steps))


def _walk(value: Any, steps: tuple[str | int | None, ...]) -> Any:
    for number, step in enumerate(steps):
        if step is None:
            if not isinstance(value, list):
                return None
            found: list[Any] = []
            for item in value:
                inside = _walk(item, steps[number + 1 :])
                if isinstance(inside, list) and None in steps[number + 1 :]:
                    found += inside
                elif inside is not None:
                    found.append(inside)
            return found
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value
