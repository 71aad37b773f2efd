"""How long to wait: pure; chance is a number between 0 and 1 that the caller draws."""

from __future__ import annotations

from dataclasses import dataclass

NOT_YET_VISIBLE = 120.0
"""Seconds for which a thing that was just created may still be unknown to a read."""


@dataclass(frozen=True, slots=True)
class PollPace:
    """
    Seconds between two looks at a remote state.

    Begins at `first` and grows by `growth` up to `longest`; one look a minute is what practitioners
    advise for customization jobs, which take hours.
    """

    first: float = 5.0
    longest: float = 60.0
    growth: float = 1.5

    def delay(self, looks: int, chance: float) -> float:
        """After `looks` looks; spread by a tenth either way, so that many runs do not look at once."""
        steady = min(self.longest, self.first * self.growth ** min(looks, 64))
        return steady * (0.9 + 0.2 * chance)


def full_jitter(attempt: int, chance: float, *, base: float = 0.5, longest: float = 20.0) -> float:
    """Seconds before attempt number `attempt + 1`, between 0 and `base * 2**attempt`, at most `longest`."""
    return float(chance * min(longest, base * 2.0 ** min(attempt, 32)))
