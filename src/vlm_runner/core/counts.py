"""Numbers and counts that others wrote, bounded where they are read: their sums and prices stay numbers."""

from __future__ import annotations

import math
import sys
from typing import Annotated, Final

from pydantic import Field

LARGEST_COUNT: Final = 2**53
"""Up to here JSON's numbers are exact. Nobody counted what is larger, and its price may be no number."""
MOST_TOKENS: Final = 10**9
"""Of one call, a hundred times what any model takes: the sum of nine million calls is still a count."""

TokenCount = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
"""Of one call."""
TokenSum = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
"""Of many."""


def finite(value: object) -> float:
    """
    `value` as the number that it must be.

    Raises:
        ValueError: it is none, or none that a float holds.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not abs(number) <= sys.float_info.max:  # so it is of NaN, and of an integer of 400 digits
        raise ValueError("not a finite number")
    return number


def counted(value: object, most: int = LARGEST_COUNT) -> int:
    """
    `value` as the count that it must be.

    Raises:
        ValueError: it is none, or larger than `most`.
    """
    number = finite(value)
    if not 0 <= number <= most or number != int(number):
        raise ValueError("not a count")
    return int(number)
