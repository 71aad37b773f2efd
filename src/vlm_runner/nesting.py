"""How deep what was read is nested: whatever is done with it recurs, and Python ends that by an error."""

from __future__ import annotations

from typing import Any, Final

DEEPEST: Final = 100
"""Tables and lists inside of one another; a spec has four, a checkpoint ten. pydantic writes 255."""


def is_too_deep(value: Any) -> bool:
    """Whether it has more than DEEPEST of them inside of one another."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        holders = [one for one in level if isinstance(one, dict | list)]
        level = [inner for one in holders for inner in (one.values() if isinstance(one, dict) else one)]
    return bool(level)
