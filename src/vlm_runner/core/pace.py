"""How long to wait between two looks. Pure: chance is a number between 0 and 1 that the caller draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

NOT_YET_VISIBLE = 120.0
"""Seconds for which a new resource may still be invisible to reads."""


QUIET: Final = timedelta(minutes=15)
"""
How long a create that was signed and not answered can still arrive.

AWS rejects a request whose signature is older than five minutes (IAM user guide, signing), plus five of a
clock that runs ahead, plus slack.
"""


LOOKS_UNTIL_GONE = 3
"""A read may be stale: "not found" counts as gone in so many looks in a row, spread over `gone_after`."""


def between_looks(gone_after: float) -> float:
    """Seconds from one of them to the next."""
    return gone_after / (LOOKS_UNTIL_GONE - 1)


@dataclass(frozen=True, slots=True)
class Unseen:
    """How often in a row something was not found, and since when."""

    looks: int = 0
    since: float = 0.0

    def another(self, now: float) -> Unseen:
        return Unseen(self.looks + 1, self.since if self.looks else now)

    def is_gone(self, now: float, after: float) -> bool:
        return self.looks >= LOOKS_UNTIL_GONE and now - self.since >= after


GETS_READY: Final = (15 * 60.0, 30 * 60.0)
"""Seconds that a throughput takes from its creation to InService, by AWS's samples."""

OVERDUE: Final = 3600.0
"""Seconds after which an endpoint that is not ready yet is told of, and again after as many more."""

RENTED_LOOK: Final = 2.0
"""Seconds between two looks in that time: each second until it is seen to be ready is paid."""


def rest_at_most(waited: float) -> float:
    """Until the next look at a throughput that has been waited for so long, in seconds."""
    since, until = GETS_READY
    if waited >= until:
        return math.inf
    return max(RENTED_LOOK, since - waited)


class PollPace(BaseModel):
    """
    Seconds between two looks at a remote state.

    Begins at `first` and grows by `growth` up to `longest`; one look a minute is what practitioners
    advise for customization jobs, which take hours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float = Field(default=5.0, gt=0)
    """The first pause."""
    longest: float = Field(default=60.0, gt=0)
    """The longest pause."""
    growth: float = Field(default=1.5, ge=1)
    """Each pause is so many times the one before."""
    gone_after: float = Field(default=90.0, ge=0)
    """
    How long something must be unseen, in several looks, before it counts as gone.

    Believing one stale read would abandon a job that trains, or an endpoint that bills. A release takes so
    much longer; what is deleted does not bill meanwhile.
    """

    def delay(self, looks: int, chance: float, most: float = math.inf) -> float:
        """After `looks` looks; spread by a tenth either way, so that many runs do not look at once."""
        steady = min(self.longest, most, self.first * self.growth ** min(looks, 64))
        return steady * (0.9 + 0.2 * chance)
