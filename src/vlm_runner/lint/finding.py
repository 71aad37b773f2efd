"""What lint says: findings, and what it counted on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm_runner.json_output import FindingJson, LintReportJson, SubsetStatsJson

CONTENT = frozenset({"I122", "I124", "I125", "I126", "I127", "I136"})
"""Codes of what only reading an image's content shows."""


class Severity(StrEnum):
    ERROR = "error"
    """The job, or the run before it, would fail."""
    WARNING = "warning"
    """It would work, and probably not as meant."""
    NOTE = "note"
    """What will be done with it."""


@dataclass(frozen=True, slots=True)
class Location:
    subset: str | None = None
    row: int | None = None
    """From 0, in the subset or the JSONL file."""
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    severity: Severity
    message: str
    """Half a sentence: what is wrong."""
    why: str
    """The rule, with its source."""
    fix: str
    subset: str | None = None
    row: int | None = None
    """From 0, in the subset or the JSONL file."""
    field: str | None = None
    fixes: str | None = None
    """The transform of the spec that resolves it: fit, skip, strip, drop_duplicates, png."""
    value: str | None = None
    """What that transform is given: with strip, the word."""

    @property
    def where(self) -> str:
        row = None if self.row is None else f"row {self.row}"
        return ", ".join(part for part in (self.subset, row, self.field) if part)

    def as_json(self) -> FindingJson:
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "why": self.why,
            "fix": self.fix,
            "subset": self.subset,
            "row": self.row,
            "field": self.field,
            "fixes": self.fixes,
        }


@dataclass(slots=True)
class SubsetStats:
    """What a subset holds, counted while it was looked at."""

    rows: int = 0
    usable: int = 0
    """Rows without an error of their own."""
    images: int = 0
    image_bytes: int = 0
    converted: int = 0
    in_place: int = 0
    """Images that are not uploaded."""
    in_place_bytes: int = 0
    text_tokens: int = 0
    image_tokens: int = 0
    longest: int = 0
    """Tokens of the longest record."""
    prompt_tokens: list[int] = field(default_factory=list[int])
    """Of the first records: what test calls will send."""

    @property
    def tokens(self) -> int:
        """An estimate of what one epoch trains on."""
        return self.text_tokens + self.image_tokens

    def as_json(self) -> SubsetStatsJson:
        return {
            "rows": self.rows,
            "usable": self.usable,
            "images": self.images,
            "image_bytes": self.image_bytes,
            "converted": self.converted,
            "in_place": self.in_place,
            "in_place_bytes": self.in_place_bytes,
            "text_tokens": self.text_tokens,
            "image_tokens": self.image_tokens,
            "longest": self.longest,
            "tokens": self.tokens,
        }


@dataclass(slots=True)
class LintReport:
    """All findings, in the order of rows, and a census of each subset by its name."""

    model: str
    source: str
    findings: list[Finding] = field(default_factory=list[Finding])
    census: dict[str, SubsetStats] = field(default_factory=dict[str, SubsetStats])

    def count(self, severity: Severity) -> int:
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def images_verified(self) -> bool:
        """
        Whether the content of every image that passes through unchanged was read, and found whole.

        Staging then need not read it again. Where a single one was not, staging reads all of them.
        """
        return not any(finding.code in CONTENT for finding in self.findings)

    @property
    def failed(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in self.findings)

    @property
    def codes(self) -> Counter[str]:
        return Counter(finding.code for finding in self.findings)

    def as_json(self) -> LintReportJson:
        return {
            "model": self.model,
            "source": self.source,
            "counts": {severity.value: self.count(severity) for severity in Severity},
            "census": {name: census.as_json() for name, census in self.census.items()},
            "findings": [finding.as_json() for finding in self.findings],
        }
