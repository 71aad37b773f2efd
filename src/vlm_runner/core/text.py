"""Text from outside, as a checkpoint can hold it: pure."""

from __future__ import annotations

from typing import Final

LONGEST_REASON: Final = 2000
"""Characters: every save writes the whole history again."""


def storable(text: str) -> str:
    """`text` with whole characters only, cut to LONGEST_REASON."""
    whole = text.encode(errors="replace").decode()
    return whole if len(whole) <= LONGEST_REASON else whole[: LONGEST_REASON - 1] + "…"
