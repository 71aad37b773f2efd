"""Split expressions, as the `datasets` library has them: `train[:10%]`, `train[100:200]+validation`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vlm_runner.path_segment import path_segment

_PART = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[\s*(-?\d{1,15}%?)?\s*:\s*(-?\d{1,15}%?)?\s*\])?\s*")


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows of one split: from the one bound to before the other. A bound is a row, or a percentage."""

    split: str
    start: str | None = None
    stop: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.start is None and self.stop is None

    @property
    def at_most(self) -> int | None:
        """How many rows of the split must be known to say which these are; None: all."""
        if self.stop is None or self.stop.startswith("-") or "%" in f"{self.start}{self.stop}":
            return None
        return None if self.start is not None and self.start.startswith("-") else int(self.stop)

    def rows(self, count: int) -> range:
        """
        Of a split of `count` rows.

        Raises:
            ValueError: the split has not as many rows.
        """
        start = 0 if self.start is None else self._bound(self.start, count)
        stop = count if self.stop is None else self._bound(self.stop, count)
        return range(start, max(start, stop))

    def _bound(self, text: str, count: int) -> int:
        percent = text.endswith("%")
        # As the library rounds by default ("closest"): with Python's rounding of halves.
        at = round(int(text[:-1]) * count / 100) if percent else int(text)
        if abs(at) > count:
            raise ValueError(f"split '{self.split}' has {count:,} rows, and {abs(at):,} are asked for")
        return count + at if at < 0 or text.startswith("-") else at


def parse_split(text: str) -> tuple[Slice, ...]:
    """
    Raises:
        ValueError: it is no split, no slice of one, and no sum of those.
    """
    parts = []
    for part in text.split("+"):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(
                f"'{text}' is not a split; write a name, or an expression such as train[:10%], "
                "train[100:200] or train+validation"
            )
        path_segment(match[1])
        for bound in match[2], match[3]:
            if bound is not None and bound.endswith("%") and abs(int(bound[:-1])) > 100:
                raise ValueError(f"'{text}' asks for {bound} of a split")
        parts.append(Slice(match[1], match[2], match[3]))
    return tuple(parts)


def plain_name(expression: str) -> str:
    """What the rows of a split expression are called in keys: the first of its splits."""
    try:
        return parse_split(expression)[0].split
    except ValueError:
        return expression
