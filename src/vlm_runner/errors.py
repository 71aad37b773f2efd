"""
Every error that a user may meet.

Each says what happened, where, and (in `hint`) what to do. With which code the command line then exits is
`vlm_runner.cli.exit_codes`'s to say.
"""

from __future__ import annotations


class VlmRunnerError(Exception):
    """The base of all errors that vlm-runner raises on purpose."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(VlmRunnerError):
    """The command or call does not fit together."""


class DataError(VlmRunnerError):
    """The dataset, a row of it, or an image cannot be used as the spec says."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        subset: str | None = None,
        row: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.subset = subset
        self.row = row
        self.field = field


class RowError(DataError):
    """One row cannot be used; the message names the split, the row (from 0) and the field."""

    row: int

    def __init__(self, subset: str, row: int, field: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(
            f"{subset} row {row}, field '{field}': {reason}.", hint=hint, subset=subset, row=row, field=field
        )
        self.reason = reason

    def __reduce__(self) -> tuple[type[RowError], tuple[str, int, str, str], dict[str, str | None]]:
        # Rows are converted in worker processes, and their errors come back pickled.
        return (
            type(self),
            (self.subset or "", self.row or 0, self.field or "", self.reason),
            {"hint": self.hint},
        )


class ConfigurationError(VlmRunnerError):
    """Settings, spec, region or credentials are missing or wrong."""


class AwsRefused(VlmRunnerError):
    """AWS answered, and the answer was a refusal that trying again will not change."""

    def __init__(
        self, message: str, *, hint: str | None = None, code: str | None = None, operation: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.operation = operation


class NotFound(AwsRefused):
    """AWS knows no such thing."""


class Conflict(AwsRefused):
    """AWS says that the thing is not in a state for this, or that its name is in use."""


class QuotaExceeded(AwsRefused):
    """A service quota of the account stands in the way."""


class AccessDenied(AwsRefused):
    """The caller or a role may not do this."""


class CredentialsError(ConfigurationError):
    """There are no credentials, or AWS does not take them."""


class AwsUnavailable(VlmRunnerError):
    """AWS did not answer, or only with errors that may pass; nothing is lost, and resume goes on."""


class Throttled(AwsUnavailable):
    """AWS asks for fewer requests."""


class ModelNotReady(AwsUnavailable):
    """The endpoint is warming up."""


class StoreUnavailable(AwsUnavailable):
    """The checkpoint store did not take a write: a full disk, say. What was there is still there."""


class UncertainCreate(AwsUnavailable):
    """A create was sent and its fate is unknown: the resource may exist."""


class RunTaken(VlmRunnerError):
    """Another process drives this run."""


class Fenced(RunTaken):
    """Another process has taken this run over; whatever this one does now is not recorded."""


class StillBilling(RunTaken):
    """Something was bought that could neither be recorded nor deleted."""


class LeaseExpired(VlmRunnerError):
    """The lease may have run out: nothing is paid for until it is renewed."""


class Unsaved(VlmRunnerError):
    """The store did not say whether it took a write, for longer than a process can wait."""


class Stopped(VlmRunnerError):
    """The run was stopped, not cancelled: remote work goes on, and resume continues it."""


class RunExists(UsageError):
    """A run with this id exists, and was started from another spec."""


class RunNotFound(VlmRunnerError):
    """No run with this id in the checkpoint store."""


class CheckpointError(VlmRunnerError):
    """A checkpoint cannot be read by this version; it is left untouched."""
