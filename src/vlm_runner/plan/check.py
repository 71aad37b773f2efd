"""One check of account, role, bucket or quota: `doctor` makes them, and a plan lists those that matter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm_runner.json_output import CheckJson


class Status(StrEnum):
    GOOD = "good"
    BAD = "bad"
    """The run would fail."""
    DOUBTFUL = "doubtful"
    """The run may fail, or go wrong later."""
    UNKNOWN = "unknown"
    """It could not be checked; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, and what was found."""

    code: str
    status: Status
    about: str
    message: str
    fix: str | None = None
    """The command or change that fixes it; SPEC stands for the spec's file."""

    @property
    def matters(self) -> bool:
        """Whether a person should read it."""
        return self.status is not Status.GOOD

    @property
    def line(self) -> str:
        text = f"{self.status.value:<10}{self.code}  {self.about}: {self.message}"
        return f"{text}\n{' ' * 12}      fix: {self.fix}" if self.fix else text

    def as_json(self) -> CheckJson:
        return {
            "code": self.code,
            "status": self.status.value,
            "about": self.about,
            "message": self.message,
            "fix": self.fix,
        }
