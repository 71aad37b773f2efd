"""
Every error that a user may meet.

Each says what happened, where, and (in `hint`) what to do. Exit codes are in
`vlm_runner.cli.exit_codes`.
"""

from __future__ import annotations

from typing import Final


class VlmRunnerError(Exception):
    """The base of all errors that vlm-runner raises on purpose."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(VlmRunnerError):
    """The command or call is invalid."""


class TrackerFailed(VlmRunnerError):
    """An experiment tracker did not take a run, which is unaffected."""


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
    """
    One row cannot be used; the message names the split, the row (from 0) and the field.

    What becomes of the row is the spec's to say (`vlm_runner.spec.BadRows`): the run ends with this error, or
    the row is left out, counted and listed. Lint finds the same rows, by the same code.
    """

    row: int

    def __init__(
        self,
        subset: str,
        row: int,
        field: str,
        reason: str,
        *,
        hint: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(
            f"{subset} row {row}, field '{field}': {reason}.", hint=hint, subset=subset, row=row, field=field
        )
        self.reason = reason
        self.code = code
        """Of the rule of lint that says so."""


class CheckpointFull(DataError):
    """What would have to be saved is more than a checkpoint can hold. Nothing was saved of it."""


class ConfigurationError(VlmRunnerError):
    """Settings, spec, region or credentials are missing or wrong."""


class AwsRefused(VlmRunnerError):
    """AWS refused a request, and retrying will not change that."""

    def __init__(
        self, message: str, *, hint: str | None = None, code: str | None = None, operation: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.operation = operation


class NotFound(AwsRefused):
    """The resource does not exist."""


class ObjectChanged(AwsRefused):
    """An object of the run in S3 is not what the run wrote there: something else replaced or deleted it."""


class Conflict(AwsRefused):
    """The resource is in the wrong state for this, or its name is in use."""


class QuotaExceeded(AwsRefused):
    """A service quota of the account is used up."""


class AccessDenied(AwsRefused):
    """The caller or a role may not do this."""


class RoleNotAssumable(AwsRefused):
    """A service cannot assume the role that it was given; a role made seconds ago is not seen everywhere."""


class CredentialsError(ConfigurationError):
    """There are no credentials, or AWS rejects them."""


class OtherAccount(ConfigurationError):
    """The credentials are of another account than the run."""


class AwsUnavailable(VlmRunnerError):
    """AWS did not answer, or only with transient errors; nothing is lost, and `resume` continues."""


class Throttled(AwsUnavailable):
    """AWS asks for fewer requests."""


class ModelNotReady(AwsUnavailable):
    """The endpoint is warming up."""


MAKE_ROOM: Final = "Stop other processes or raise their limits (memory, ulimit -u, ulimit -n); then resume."


class OutOfResources(VlmRunnerError):
    """This machine gives no more processes, threads, files, memory or disk; `resume` continues."""


class StoreUnavailable(AwsUnavailable):
    """The checkpoint store did not accept a write (a full disk, for example). The old content is intact."""


class SourceUnavailable(AwsUnavailable):
    """The Hub, where a dataset lies, did not answer, or not now."""


class UncertainCreate(AwsUnavailable):
    """A create was sent and its fate is unknown: the resource may exist."""


class RunTaken(VlmRunnerError):
    """Another process drives this run."""


class Fenced(RunTaken):
    """Another process has taken this run over; this one can record nothing any more."""


class StillBilling(RunTaken):
    """Something was bought that could neither be recorded nor deleted."""


class LeaseExpired(VlmRunnerError):
    """The lease may have expired: nothing is bought until it is renewed."""


class Unsaved(VlmRunnerError):
    """The store did not confirm a write for longer than the process can wait."""


class Unrecorded(Unsaved):
    """The run's state could no longer be saved; what it rented was released, which is not saved either."""


class Stopped(VlmRunnerError):
    """The run was stopped, not cancelled: remote work continues, and so does the run with `resume`."""


class RunExists(UsageError):
    """A run with this id exists, and was started from another spec."""


class RunNotFound(VlmRunnerError):
    """The checkpoint store has no run with this id."""


class NotServed(VlmRunnerError):
    """No endpoint serves the run's model now."""


class CheckpointError(VlmRunnerError):
    """This version cannot read a checkpoint; the checkpoint is left untouched."""


class NewerCheckpoint(CheckpointError):
    """A newer version of vlm-runner has written it."""
