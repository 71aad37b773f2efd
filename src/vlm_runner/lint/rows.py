"""Findings that need more than one row: duplicates, leakage, counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vlm_runner.lint.finding import Location, Severity
from vlm_runner.lint.rules import problem_found, rule
from vlm_runner.preflight import count_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.lint.finding import Finding, LintReport
    from vlm_runner.models import ModelProfile


def digest(*parts: bytes | str) -> bytes:
    """16 bytes that stand for `parts`; a row costs its memory for as long as the dataset is read."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        sha.update(len(raw).to_bytes(8, "big"))
        sha.update(raw)
    return sha.digest()[:16]


@dataclass(frozen=True, slots=True)
class Identity:
    """What one row holds, as digests."""

    images: tuple[bytes, ...]
    question: bytes
    """Images and prompt."""
    answer: bytes


@dataclass(slots=True)
class SeenBefore:
    """What the rows of one subset held so far."""

    rows: dict[bytes, int] = field(default_factory=dict[bytes, int])
    questions: dict[bytes, tuple[int, bytes]] = field(default_factory=dict[bytes, tuple[int, bytes]])
    images: dict[bytes, int] = field(default_factory=dict[bytes, int])
    answers: Counter[bytes] = field(default_factory=Counter[bytes])


@dataclass(slots=True)
class Relations:
    """Rows against the rows before them; training is looked at first."""

    training: SeenBefore = field(default_factory=SeenBefore)
    validation: SeenBefore = field(default_factory=SeenBefore)

    def check(self, identity: Identity, *, subset: str, row: int, held_out: bool) -> Iterator[Finding]:
        seen = self.validation if held_out else self.training
        whole = digest(identity.question, identity.answer)
        at = Location(subset, row)
        if whole in seen.rows:
            yield rule("D405").found(f"the same as row {seen.rows[whole]}", fixes="drop_duplicates", at=at)
        elif identity.question in seen.questions:
            other, _ = seen.questions[identity.question]
            yield rule("D406").found(f"the same image and prompt as row {other}, with another answer", at=at)
        if held_out and whole in self.training.rows:
            yield rule("D407").found(f"the same as training row {self.training.rows[whole]}", at=at)
        elif held_out and (known := [i for i in identity.images if i in self.training.images]):
            yield rule("D408").found(
                f"the same image as training row {self.training.images[known[0]]}", at=at
            )
        seen.rows.setdefault(whole, row)
        seen.questions.setdefault(identity.question, (row, identity.answer))
        for image in identity.images:
            seen.images.setdefault(image, row)
        seen.answers[identity.answer] += 1

    def check_answers(self, subset: str) -> Iterator[Finding]:
        answers = self.training.answers
        if len(answers) == 1 and answers.total() > 4:
            yield rule("D410").found(f"all {answers.total()} rows have the same answer", Location(subset))


def check_counts(
    report: LintReport, profile: ModelProfile, *, train: str, validation: str | None, skip: bool
) -> Iterator[Finding]:
    """Whether the model takes so many records; `skip`: rows that cannot be used are left out of them."""
    records = profile.records

    def count(name: str | None) -> int:
        if name is None or name not in report.census:
            return 0
        return report.census[name].usable if skip else report.census[name].rows

    held_out = count(validation)
    total = records.counted(count(train), held_out)
    where = Location(train)
    if not total:
        yield rule("D411").found("no row can be used", at=where)
        return
    counted = [*count_problems(profile, count(train), held_out)]
    for problem in counted:
        yield problem_found(problem, Location(validation) if problem.code == "D403" else where)
    if not counted and records.recommended_minimum is not None and total < records.recommended_minimum:
        yield rule("D404").found(
            f"{total:,} records; {records.recommended_minimum:,} are recommended",
            source=records.source_of("recommended_minimum"), at=where,
        )  # fmt: skip
    if held_out and not records.validation:
        yield rule("D413").found(
            f"{profile.name} trains without a validation set: the {held_out:,} held-out rows are not sent to "
            "Bedrock, and are for the test calls only",
            Location(validation),
            source=records.source_of("validation"),
        )
    if validation is None:
        yield rule("D409").found("there are no held-out rows", at=where)


def order(finding: Finding) -> tuple[int, int]:
    """Errors first, then by row."""
    rank = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    return rank[finding.severity], -1 if finding.row is None else finding.row
