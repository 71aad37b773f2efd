"""What a failed command means for its run: retry it, go on with what the error means, or halt. Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vlm_runner.core.events import CreateRefused, CreateUncertain, RunFailed
from vlm_runner.core.pace import QUIET
from vlm_runner.core.phases import RENTED
from vlm_runner.core.retry import DENIED_WHILE_RENTING, IN_DOUBT, JOB, RELEASE, ROLE_NOT_SEEN, STEP
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.text import storable
from vlm_runner.errors import (
    MAKE_ROOM,
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    ConfigurationError,
    CredentialsError,
    DataError,
    OutOfResources,
    RoleNotAssumable,
    UncertainCreate,
    VlmRunnerError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from vlm_runner.core.events import Event
    from vlm_runner.core.retry import RetryPolicy


EXHAUSTED: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""What fork, clone and open answer then (their manual pages)."""
DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What write answers then, of a disk, a quota or `ulimit -f` (its manual page)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A command that raised, and what its process knows in addition to the error."""

    error: Exception
    pays: bool
    """It was a command that creates what costs."""
    count: int = 1
    """Failures since a command last succeeded, this one included."""
    failing_for: float = 0.0
    """Seconds since the first of them."""
    closed_for: float = 0.0
    """Seconds since the last moment in which a create of this run may have been signed."""
    worked: bool = True
    """Some command has succeeded in this process, so its credentials were good."""
    chance: float = 1.0
    """Between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What to do about a failure; `events` are saved first, in this order."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class RetryAfter(Reaction):
    """Do the same command again."""

    seconds: float
    error: Exception


@dataclass(frozen=True, slots=True)
class Proceed(Reaction):
    """The events say it all: decide anew."""


@dataclass(frozen=True, slots=True)
class Halt(Reaction):
    """Raise the error; the run can be resumed."""

    error: Exception


def foreseen(error: Exception) -> Exception:
    """
    `error`, or OutOfResources for what the system says when it has no more to give.

    Not for a command that pays: whether its create was sent is then unknown, as after any other crash.
    """
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        full = OutOfResources(
            f"There is no more space: {error}.", hint="Free space on that disk; then resume: nothing is lost."
        )
        full.__cause__ = error
        return full
    exhausted = (
        isinstance(error, MemoryError)
        or (isinstance(error, RuntimeError) and str(error) == "can't start new thread")
        or (isinstance(error, OSError) and error.errno in EXHAUSTED)
    )
    if not exhausted:
        return error
    found = OutOfResources(
        f"This machine has no more to give: {str(error) or type(error).__name__}.",
        hint=MAKE_ROOM,
    )
    found.__cause__ = error
    return found


def may_have_created(error: Exception) -> bool:
    """Whether a create that raised this may have been done: an unforeseen error says nothing."""
    return isinstance(error, UncertainCreate) or not isinstance(error, VlmRunnerError)


def may_have_sent(run: Run) -> bool:
    """
    Whether a create of this run may be on its way, or too new to be seen, when a process lets the run go.

    One that lets go has recorded what came of each create that it sent. So an intent alone, without doubt,
    answer or refusal, was never sent.
    """
    unseen = (run.job is not None and run.may_train) or run.serving is not None
    return unseen or run.uncertain_job is not None or run.uncertain_serving is not None


def on_failure(run: Run, failure: Failure, *, quiet: timedelta = QUIET) -> Reaction:
    """The one decision about an error of a step: whether to retry, how long, and what it ends in."""
    error = failure.error
    doubt = None
    if failure.pays and may_have_created(error):
        # Saved before anything else is done: every later driver must look for what may exist.
        doubt = uncertain_create(run, str(error) or repr(error))
    before: tuple[Event, ...] = () if doubt is None else (doubt,)
    uncertain = run.uncertain or doubt is not None
    policy = _policy(run, failure, quiet, uncertain=uncertain)
    if policy is not None and policy.again(failure.count, failure.failing_for):
        return RetryAfter(before, policy.pause(failure.count, failure.chance), error)
    if (failed := _run_failed(run, error, uncertain=uncertain)) is not None:
        return Proceed((*before, failed))
    refused = _create_refused(run, error, uncertain=uncertain)
    return Halt(before if refused is None else (*before, refused), error)


def _policy(run: Run, failure: Failure, quiet: timedelta, *, uncertain: bool) -> RetryPolicy | None:
    """
    How long the same command is retried; None: not at all.

    A refusal is the last word, unless a create is of unknown fate: the quota that is used up may be used
    by that very create. Then it is requested again until no earlier request can arrive any more.
    """
    error = failure.error
    if run.phase is Phase.RELEASING:
        return RELEASE
    # Credentials may be renewed within minutes; to fail at once would throw away a trained and rented model.
    renewable = isinstance(error, CredentialsError) and (failure.worked or run.phase in RENTED)
    if renewable or isinstance(error, AwsUnavailable | OutOfResources):
        return STEP
    if isinstance(error, AccessDenied) and run.phase in RENTED:
        return DENIED_WHILE_RENTING
    if isinstance(error, AwsRefused) and uncertain and failure.closed_for < quiet.total_seconds():
        return IN_DOUBT
    if isinstance(error, RoleNotAssumable) and failure.pays:
        return ROLE_NOT_SEEN
    return None


def _run_failed(run: Run, error: Exception, *, uncertain: bool) -> RunFailed | None:
    """
    That the run fails by an error that lasts; None: it halts.

    A halted run is resumable, and nothing of it bills. So an error that a person can fix (a role, a
    quota, a network) halts the run as long as nothing bills. Bad data cannot be fixed, since the data of a
    run is pinned. Where something bills, or may, every error leads to its release.
    """
    if run.phase in {Phase.RELEASING, Phase.REPORTING}:
        return None  # a release is retried for as long as the process lives, and a report halts
    may_have_rented = run.phase is Phase.REQUESTING and uncertain and not isinstance(error, AwsRefused)
    if run.phase in RENTED or may_have_rented or isinstance(error, DataError):
        return RunFailed(error=type(error).__name__, reason=storable(str(error) or repr(error)))
    return None


def _create_refused(run: Run, error: Exception, *, uncertain: bool) -> CreateRefused | None:
    """That nothing was created after all, where that is certain: then a halted run is not said to bill."""
    definite = isinstance(error, AwsRefused) or (
        isinstance(error, AwsUnavailable | ConfigurationError) and not uncertain
    )
    if not definite:
        return None
    if run.phase is Phase.SUBMITTING and run.job_intent is not None and run.refused_job is None:
        return CreateRefused(what="job", reason=storable(str(error)))
    if run.phase is Phase.REQUESTING and run.serving_intent is not None and run.refused_serving is None:
        return CreateRefused(what="serving", reason=storable(str(error)))
    return None


def erred_before_training(failure: str | None, details: Mapping[str, str], erred: int) -> bool:
    """
    Whether another job may follow one that has Failed: it ended by an internal error of Bedrock's, and its
    training had not begun. Training is billed by the token, so that one cost nothing.

    Seen in two accounts, with data on which a later job succeeded.
    """
    internal = failure is not None and "internal error" in failure.lower()
    return internal and details.get("training") == "NotStarted" and JOB.again(erred + 1, 0.0)


def uncertain_create(run: Run, cause: str) -> CreateUncertain | None:
    """
    That a create of the present phase was sent, or may have been; None where that is recorded already.

    Asked where an answer was lost, and by a process that takes a run over from one that did not let go.
    """
    # Recorded once, however often it is met: each entry makes every later save longer.
    if run.phase is Phase.SUBMITTING and run.job_intent is not None:
        known = run.uncertain_job is not None or run.refused_job is not None
        return None if known else CreateUncertain(what="job", cause=storable(cause))
    if run.phase is Phase.REQUESTING and run.serving_intent is not None:
        known = run.uncertain_serving is not None or run.refused_serving is not None
        return None if known else CreateUncertain(what="serving", cause=storable(cause))
    return None
