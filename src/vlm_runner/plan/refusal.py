"""What is not begun, since its plan shows that it would fail: one wording for all that start runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.errors import ConfigurationError, DataError
from vlm_runner.lint import Severity
from vlm_runner.lint.rows import order
from vlm_runner.plan.check import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vlm_runner.lint import LintReport
    from vlm_runner.plan.check import Check


def refuse_findings(report: LintReport, *, hint: str) -> None:
    """
    Raises:
        DataError: lint has errors.
    """
    if not report.failed:
        return
    first = min(report.findings, key=order)
    raise DataError(
        f"Lint has {report.count(Severity.ERROR):,} errors, the first ({first.code}) of "
        f"{first.where or 'the spec'}: {first.message}. Nothing was created.",
        hint=hint,
    )


def refuse_bad(checks: Sequence[Check], *, all_of_them: str, hint: Callable[[str], str]) -> None:
    """
    `all_of_them` shows the other checks; `hint` is given the first one's fix.

    Raises:
        ConfigurationError: a check is bad, so that the run would end after it has uploaded or trained.
    """
    bad = [check for check in checks if check.status is Status.BAD]
    if not bad:
        return
    first = bad[0]
    more = f" (and {len(bad) - 1} more: {all_of_them})" if len(bad) > 1 else ""
    raise ConfigurationError(
        f"{first.about}: {first.message} ({first.code}){more}. Nothing was created.",
        hint=hint(f"Fix: {first.fix}\n" if first.fix else ""),
    )
