"""Why a row's texts make no record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

CODES: Final = {"missing": "T201", "surrogate": "T207", "unknown": "S506", "fails": "S505"}
EMPTY: Final = {"system": "T204", "user": "T202", "assistant": "T203"}
"""Codes of lint's rules for a part that is empty once rendered."""

Kind = Literal["missing", "empty", "surrogate", "unknown", "fails", "turns"]


@dataclass(frozen=True, slots=True)
class RenderProblem:
    """Why a part of a row cannot be rendered; `reason` is a clause without a final period."""

    kind: Kind
    reason: str
    field: str
    part: str
    """system, user or assistant."""
    hint: str | None = None
    cause: Exception | None = None
    rule: str = ""
    """Of lint, where the kind alone does not tell."""

    @property
    def code(self) -> str:
        """Of lint's rule."""
        return self.rule or (EMPTY[self.part] if self.kind == "empty" else CODES[self.kind])

    @property
    def of_the_row(self) -> bool:
        """Whether the row is at fault; else the template is, and no row can be rendered."""
        return self.kind not in {"unknown", "fails"}
