"""What an error means for a run: how long it is retried, and what it ends in."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.histories import after, event_of
from vlm_runner.core.events import CreateRefused, CreateUncertain, RunFailed
from vlm_runner.core.failure import (
    Failure,
    Halt,
    Proceed,
    Reaction,
    RetryAfter,
    foreseen,
    on_failure,
    uncertain_create,
)
from vlm_runner.core.phases import RENTED
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.text import storable
from vlm_runner.errors import (
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    CredentialsError,
    DataError,
    OutOfResources,
    QuotaExceeded,
    RoleNotAssumable,
    UncertainCreate,
)

from .test_decide import at

FOR_LONG = 1e6


def reaction(
    run: Run,
    error: Exception,
    *,
    failing_for: float = FOR_LONG,
    closed_for: float = FOR_LONG,
    worked: bool = True,
    pays: bool = False,
) -> Reaction:
    failure = Failure(error, pays=pays, failing_for=failing_for, closed_for=closed_for, worked=worked)
    return on_failure(run, failure)


def retried(run: Run, error: Exception, **known: float | bool) -> bool:
    return isinstance(reaction(run, error, **{"failing_for": 0.0, "closed_for": 0.0} | known), RetryAfter)  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", [Phase.WARMING, Phase.TESTING])
@pytest.mark.parametrize(
    "error", [AwsUnavailable("x"), AwsRefused("x"), KeyError("x"), CredentialsError("x"), AccessDenied("x")]
)
def test_where_something_bills_every_error_that_lasts_leads_to_its_release(
    phase: Phase, error: Exception
) -> None:
    found = reaction(at(phase), error)

    assert isinstance(found, Proceed)
    assert after(at(phase), *found.events).phase is Phase.RELEASING


@pytest.mark.parametrize(
    "phase",
    [
        Phase.STAGING, Phase.RECORDING, Phase.SUBMITTING, Phase.TRAINING, Phase.REQUESTING, Phase.REPORTING,
    ],
)  # fmt: skip
@pytest.mark.parametrize("error", [AwsUnavailable("x"), QuotaExceeded("x"), CredentialsError("x")])
def test_where_nothing_bills_what_can_be_mended_halts(phase: Phase, error: Exception) -> None:
    assert reaction(at(phase), error) == Halt((), error)


@pytest.mark.parametrize(
    "error",
    [
        AwsUnavailable("x"),
        AwsRefused("x"),
        KeyError("x"),
        CredentialsError("x"),
        DataError("x"),
        MemoryError(),
    ],
)
def test_a_release_is_ended_by_no_error(error: Exception) -> None:
    """Nor by credentials that never worked in this process: it may be the last to know of the endpoint."""
    found = reaction(at(Phase.RELEASING), error, worked=False)

    assert isinstance(found, RetryAfter)
    assert found.seconds <= 60


def test_bad_data_ends_a_run() -> None:
    found = reaction(at(Phase.STAGING), DataError("row 3"), failing_for=0)

    assert found == Proceed((RunFailed(error="DataError", reason="row 3"),))


def test_an_unsure_rent_is_released_and_not_left_halted() -> None:
    run = at(Phase.REQUESTING, "serving_intended", "create_uncertain")

    found = reaction(run, UncertainCreate("x"), pays=True)

    assert isinstance(found, Proceed)
    assert [event.kind for event in found.events] == ["run_failed"]


def test_a_lost_answer_to_a_create_is_recorded_before_it_is_tried_again() -> None:
    run = at(Phase.REQUESTING, "serving_intended")

    found = reaction(run, UncertainCreate("lost"), pays=True, failing_for=0)

    assert isinstance(found, RetryAfter)
    assert found.events == (CreateUncertain(what="serving", cause="lost"),)


def test_an_error_that_nobody_foresaw_leaves_a_create_in_doubt_and_the_run_released() -> None:
    run = at(Phase.REQUESTING, "serving_intended")

    found = reaction(run, KeyError("arn"), pays=True, failing_for=0)

    assert isinstance(found, Proceed)
    assert [event.kind for event in found.events] == ["create_uncertain", "run_failed"]
    assert after(run, *found.events).phase is Phase.RELEASING


def test_transient_errors_are_retried_for_a_quarter_of_an_hour() -> None:
    run = at(Phase.TRAINING)

    assert retried(run, AwsUnavailable("x"), failing_for=899)
    assert not retried(run, AwsUnavailable("x"), failing_for=900)


def test_credentials_that_never_worked_are_not_waited_for() -> None:
    assert not retried(at(Phase.STAGING), CredentialsError("x"), worked=False)
    assert retried(at(Phase.STAGING), CredentialsError("x"), worked=True)


@pytest.mark.parametrize("phase", sorted(RENTED))
def test_refused_credentials_of_a_new_process_do_not_throw_a_rented_model_away_at_once(phase: Phase) -> None:
    assert retried(at(phase), CredentialsError("x"), worked=False)
    assert reaction(at(phase), CredentialsError("x"), worked=False, failing_for=901).events


def test_a_refusal_is_the_last_word_unless_a_create_is_of_unknown_fate() -> None:
    """The quota that is used up may be used up by that very create."""
    intended = at(Phase.REQUESTING, "serving_intended")
    unsure = after(intended, event_of("create_uncertain", intended))

    assert not retried(intended, QuotaExceeded("x"))
    assert retried(unsure, QuotaExceeded("x"), closed_for=899)
    assert not retried(unsure, QuotaExceeded("x"), closed_for=900)


@pytest.mark.parametrize("phase", [Phase.SUBMITTING, Phase.REQUESTING])
def test_a_role_that_was_just_made_is_waited_for_two_minutes_and_then_the_run_halts(phase: Phase) -> None:
    run, error = at(phase), RoleNotAssumable("Could not assume provided IAM role")

    assert retried(run, error, pays=True, failing_for=119)
    assert not retried(run, error, pays=True, failing_for=121)
    assert isinstance(reaction(run, error, pays=True), Halt)


@pytest.mark.parametrize("phase", [Phase.WARMING, Phase.TESTING])
def test_a_denial_is_retried_for_two_minutes_where_something_is_rented_already(phase: Phase) -> None:
    """
    What IAM just granted is not seen everywhere at once; before anything is rented a denial is the answer.
    """
    assert retried(at(phase), AccessDenied("x"), failing_for=119)
    assert not retried(at(phase), AccessDenied("x"), failing_for=120)
    assert not retried(at(Phase.STAGING), AccessDenied("x"))


@pytest.mark.parametrize(
    ("phase", "intend"), [(Phase.SUBMITTING, "job_intended"), (Phase.REQUESTING, "serving_intended")]
)
def test_a_definite_refusal_is_recorded_and_clears_the_doubt(phase: Phase, intend: str) -> None:
    run = at(phase, intend, "create_uncertain")

    found = reaction(run, QuotaExceeded("no units"), pays=True)

    assert isinstance(found, Halt)
    assert isinstance(found.events[0], CreateRefused)
    assert not after(run, *found.events).uncertain


def test_an_unavailable_aws_clears_no_doubt() -> None:
    run = at(Phase.SUBMITTING, "job_intended", "create_uncertain")

    assert reaction(run, AwsUnavailable("x"), pays=True).events == ()


def test_doubt_is_recorded_once() -> None:
    """However long AWS is away, the checkpoint does not grow."""
    run = at(Phase.REQUESTING, "serving_intended")

    event = uncertain_create(run, "lost")

    assert isinstance(event, CreateUncertain)
    assert uncertain_create(after(run, event), "lost again") is None
    assert uncertain_create(at(Phase.WARMING), "lost") is None


@given(st.text(st.characters(exclude_categories=[]), max_size=5000))
def test_any_reason_fits_a_checkpoint(text: str) -> None:
    reason = RunFailed(error="E", reason=storable(text)).reason

    assert len(reason) <= 2000
    reason.encode()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        OSError(errno.EAGAIN, "x"),
        OSError(errno.EMFILE, "x"),
        MemoryError(),
    ],
    ids=repr,
)
def test_a_machine_that_has_no_more_to_give_is_waited_for_and_then_halts_the_run(error: Exception) -> None:
    run = at(Phase.STAGING)
    found = foreseen(error)
    assert isinstance(found, OutOfResources)

    soon = on_failure(run, Failure(found, pays=False))
    at_last = on_failure(run, Failure(found, pays=False, count=1000, failing_for=86400.0))

    assert isinstance(soon, RetryAfter)
    assert isinstance(at_last, Halt)
    assert at_last.events == ()


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(errno.ENOENT, "x"), ValueError()], ids=repr)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert foreseen(error) is error
