"""Exit codes: one table, at the command line's edge."""

from __future__ import annotations

import pytest

from tests.histories import after, event_of, happy_runs
from vlm_runner import errors
from vlm_runner.cli.exit_codes import EXIT_CODES, exit_code, halted_exit_code, run_exit_code
from vlm_runner.cli.run_view import RunView
from vlm_runner.core.budget import overdue
from vlm_runner.core.events import HandedOver, RunFailed
from vlm_runner.core.run import Phase, Run
from vlm_runner.errors import RowError, StillBilling

CODES: dict[str, int] = {
    "UsageError": 2,
    "RunExists": 2,
    "DataError": 3,
    "RowError": 3,
    "CheckpointFull": 3,
    "ConfigurationError": 4,
    "OtherAccount": 4,
    "CredentialsError": 4,
    "CheckpointError": 4,
    "NewerCheckpoint": 4,
    "AwsRefused": 5,
    "NotFound": 5,
    "Conflict": 5,
    "ObjectChanged": 5,
    "QuotaExceeded": 5,
    "RoleNotAssumable": 5,
    "AccessDenied": 5,
    "AwsUnavailable": 75,
    "Throttled": 75,
    "ModelNotReady": 75,
    "StoreUnavailable": 75,
    "OutOfResources": 75,
    "TrackerFailed": 75,
    "SourceUnavailable": 75,
    "UncertainCreate": 75,
    "RunTaken": 75,
    "Fenced": 75,
    "LeaseExpired": 75,
    "Unsaved": 75,
    "Unrecorded": 75,
    "Stopped": 75,
    "RunNotFound": 102,
    "NotServed": 102,
    "StillBilling": 104,
}


def ended(error: str, **stored: int) -> Run:
    run = next(run for run, _ in happy_runs() if run.phase is Phase.STAGING)
    run = after(run, RunFailed(error=error, reason="why", **stored))
    return after(run, event_of("report_written", run))


@pytest.mark.parametrize("name", CODES)
def test_each_error_has_its_code(name: str) -> None:
    kind = getattr(errors, name)
    error = RowError("train", 1, "image", "bad") if name == "RowError" else kind("x")

    assert exit_code(error) == CODES[name]


def test_the_errors_above_are_all_there_are() -> None:
    found = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.VlmRunnerError)
    }

    assert found - {"VlmRunnerError"} <= CODES.keys()


def test_what_nobody_foresaw_is_1() -> None:
    assert (exit_code(KeyError("x")), exit_code(errors.VlmRunnerError("x"))) == (1, 1)


@pytest.mark.parametrize(
    ("error", "code"),
    [("RowError", 3), ("AccessDenied", 5), ("CredentialsError", 4), ("KeyError", 1), ("VlmRunnerError", 1)],
)
def test_a_failed_run_exits_as_its_error_does(error: str, code: int) -> None:
    assert run_exit_code(RunView.of(ended(error))) == code


@pytest.mark.parametrize("error", ["AwsUnavailable", "Throttled", "BudgetReached", "TimeIsOver"])
def test_a_run_that_failed_by_a_transient_error_or_a_limit_exits_100_and_not_75(error: str) -> None:
    """
    75 asks an orchestrator to start it again; a run that is over cannot be resumed.
    """
    assert run_exit_code(RunView.of(ended(error))) == 100


def test_the_code_in_an_older_checkpoint_counts() -> None:
    assert run_exit_code(RunView.of(ended("SomethingOfThen", exit_code=5))) == 5


def test_no_code_is_written_into_a_checkpoint() -> None:
    assert "exit_code" not in ended("RowError").model_dump_json()


def test_a_run_that_is_over_and_may_bill_exits_104_unless_it_was_handed_over() -> None:
    done = happy_runs()[-1][0].model_copy(update={"released": None})
    kept = done.model_copy(update={"handed_over": HandedOver(arn="a", name="n", delete_command="d")})

    assert (run_exit_code(RunView.of(done)), run_exit_code(RunView.of(kept))) == (104, 0)


def test_every_code_that_is_given_is_documented() -> None:
    assert {*CODES.values(), exit_code(StillBilling("x")), exit_code(KeyError())} <= EXIT_CODES.keys()


def test_what_the_budget_records_is_known_here() -> None:
    """
    Its failures are names, not exceptions; each must have its code.
    """
    run = next(run for run, _ in happy_runs() if run.phase is Phase.WARMING)
    assert run.serving is not None
    due = run.updated_at
    run = run.model_copy(update={"serving": run.serving.model_copy(update={"deleted_at": due})})

    failed = overdue(run, due)

    assert failed is not None
    assert run_exit_code(RunView.of(ended(failed.error))) == 100


@pytest.mark.parametrize(
    ("error", "phase", "expected"),
    [
        (errors.CredentialsError("expired"), Phase.STAGING, 4),
        (errors.CredentialsError("expired"), Phase.SUBMITTING, 4),
        (errors.CredentialsError("expired"), Phase.TRAINING, 104),
        (errors.AccessDenied("no"), Phase.TRAINING, 104),
        (errors.AwsRefused("no"), Phase.REQUESTING, 5),
        (errors.AwsRefused("no"), Phase.TESTING, 104),
        (KeyError("a bug"), Phase.WARMING, 104),
        (KeyError("a bug"), Phase.RECORDING, 1),
        # What can be resumed at once says so: whoever obeys it goes on with the release.
        (errors.AwsUnavailable("503"), Phase.TRAINING, 75),
        (errors.Stopped("by SIGTERM"), Phase.WARMING, 75),
        # Released, though no checkpoint says so.
        (errors.Unrecorded("released"), Phase.WARMING, 75),
        (errors.AwsRefused("no"), Phase.REPORTING, 5),
    ],
)
def test_an_error_that_halts_does_not_hide_what_bills(error: Exception, phase: Phase, expected: int) -> None:
    run = next(run for run, _ in happy_runs() if run.phase is phase)

    assert halted_exit_code(error, run) == expected


def test_what_was_kept_is_no_alarm_when_its_report_halts() -> None:
    releasing = next(run for run, _ in happy_runs() if run.phase is Phase.RELEASING)

    assert halted_exit_code(errors.AwsRefused("no"), releasing) == 104
    assert (
        halted_exit_code(errors.AwsRefused("no"), after(releasing, event_of("handed_over", releasing))) == 5
    )
