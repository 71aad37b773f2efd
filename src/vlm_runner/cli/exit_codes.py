"""What the command line exits with, of runs and of errors: the only place that knows these numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vlm_runner import errors
from vlm_runner.core.outcome import Outcome

if TYPE_CHECKING:
    from vlm_runner.cli.run_view import RunView
    from vlm_runner.core.run import Run

EXIT_CODES: Final[dict[int, str]] = {
    0: "succeeded",
    1: "unexpected error",
    2: "usage",
    3: "the dataset is refused",
    4: "configuration or credentials",
    5: "AWS refused",
    75: "stopped or driven elsewhere (resume continues it)",
    100: "the run failed",
    101: "not finished",
    102: "not found",
    103: "cancelled",
    104: "ended but something may still bill",
    130: "interrupted twice",
}

_OF_ENDS: Final = EXIT_CODES.keys() - {0, 2, 75, 101, 102, 130}
"""With which a run can have failed."""

STOPPED: Final = 75
NOT_FINISHED: Final = 101
STILL_BILLING: Final = 104

_OF_ERRORS: Final[dict[type[BaseException], int]] = {
    errors.UsageError: 2,
    errors.DataError: 3,
    errors.ConfigurationError: 4,
    errors.CheckpointError: 4,
    errors.AwsRefused: 5,
    errors.AwsUnavailable: 75,
    errors.OutOfResources: 75,
    errors.TrackerFailed: 75,
    errors.RunTaken: 75,
    errors.LeaseExpired: 75,
    errors.Unsaved: 75,
    errors.Stopped: 75,
    errors.RunNotFound: 102,
    errors.NotServed: 102,
    errors.StillBilling: STILL_BILLING,
}
"""A code also applies to subclasses that are not listed themselves."""

_LIMITS: Final = frozenset({"BudgetReached", "DeadlineReached", "TimeIsOver"})
"""Failures that are not exceptions; see `vlm_runner.core.budget`."""


def exit_code(error: BaseException) -> int:
    """For a command that ends with this error."""
    return _of_class(type(error))


def halted_exit_code(error: BaseException, run: Run) -> int:
    """
    For a command whose run was halted by this error, in this state.

    An error must not hide that something bills. What is resumable says so (75) in either case: whoever obeys
    it continues the run, and so its release.
    """
    code = exit_code(error)
    if code == STOPPED or isinstance(error, errors.Unrecorded):
        return code
    billing = run.may_train or (run.may_bill and run.handed_over is None)
    return STILL_BILLING if billing else code


def run_exit_code(run: RunView) -> int:
    """For a run in its present state."""
    if run.outcome is None:
        return NOT_FINISHED
    if run.may_bill and not run.handed_over:
        return STILL_BILLING
    if run.outcome is Outcome.CANCELLED:
        return 103
    if run.outcome is Outcome.SUCCEEDED:
        return 0
    if run.error is None:
        return 100
    # Of those of an ended run, whatever else the document says.
    return run.stored_exit_code if run.stored_exit_code in _OF_ENDS else _of_failure(run.error)


def _of_failure(name: str) -> int:
    """Of a failed run, by the name of what failed it. What would be resumable cannot be resumed any more."""
    kind = getattr(errors, name, None)
    code = _of_class(kind) if isinstance(kind, type) else 1
    return 100 if code == 75 or name in _LIMITS else code


def _of_class(kind: type) -> int:
    return next((code for one in kind.__mro__ if (code := _OF_ERRORS.get(one)) is not None), 1)
