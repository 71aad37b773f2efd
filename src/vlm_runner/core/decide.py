"""
What comes next: the commands, one for each step, and `decide`, the only place that chooses where a run goes.

`interruptible` commands may be given up anywhere and done again; the others pay, or save, and are carried
to their recorded end even while the process is being stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, ClassVar, assert_never

from vlm_runner.core import names
from vlm_runner.core.budget import overdue
from vlm_runner.core.events import CancelRequested, ServingEnded
from vlm_runner.core.intents import endpoint_kind, intend_job
from vlm_runner.core.pace import NOT_YET_VISIBLE, QUIET
from vlm_runner.core.run import Phase, Run, known
from vlm_runner.core.text import storable
from vlm_runner.core.transitions import accepts
from vlm_runner.spec import ServingMode, seconds_of

if TYPE_CHECKING:
    from datetime import datetime

    from vlm_runner.core.events import Event, JobIntended, ServingIntended


FAR_OFF = 365 * 86400.0
"""Seconds; a schedule that is left behind at that time finds nothing to delete, and deletes itself."""


@dataclass(frozen=True, slots=True)
class Command:
    interruptible: ClassVar[bool] = True
    """Stop may give it up."""
    cancellable: ClassVar[bool] = True
    """Cancel may give it up."""
    pays: ClassVar[bool] = False
    """It creates something that costs."""


@dataclass(frozen=True, slots=True)
class Record(Command):
    """Nothing to do but to save this: the intent before an effect."""

    event: Event
    interruptible: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class ClaimPlaces(Command):
    """Find keys that hold nothing else, and make them known to be this content's."""

    run: Run


@dataclass(frozen=True, slots=True)
class StageImages(Command):
    run: Run


@dataclass(frozen=True, slots=True)
class WriteRecords(Command):
    run: Run


@dataclass(frozen=True, slots=True)
class SubmitJob(Command):
    run: Run
    intent: JobIntended
    switch_to_verify: DeadManSwitch | None = None
    """Created and deleted again before the job is: what EventBridge Scheduler refuses, it refuses now."""
    interruptible: ClassVar[bool] = False
    cancellable: ClassVar[bool] = False
    pays: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class AwaitJob(Command):
    arn: str
    stalled_after: float | None = None
    """Seconds without a change after which that is told; None: it was."""
    erred: int = 0
    """How many jobs of the run have ended by an internal error before they trained."""


@dataclass(frozen=True, slots=True)
class DeadManSwitch:
    """An EventBridge schedule that deletes the endpoint even if no runner ever comes back."""

    schedule_name: str
    mode: ServingMode
    endpoint_name: str
    role_arn: str
    after: float
    """Seconds from the request for the endpoint."""


@dataclass(frozen=True, slots=True)
class IntendServing(Command):
    """Save the intent to rent, if the tests that it is for can be asked."""

    run: Run


@dataclass(frozen=True, slots=True)
class RequestServing(Command):
    intent: ServingIntended
    uid: str
    switch: DeadManSwitch | None = None
    interruptible: ClassVar[bool] = False
    cancellable: ClassVar[bool] = False
    pays: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class AwaitEndpoint(Command):
    mode: ServingMode
    arn: str
    deleted_at: datetime | None = None
    """When a dead man's switch deletes it."""
    meanwhile: Run | None = None
    """The run whose base model is asked while a rented endpoint warms up: then it costs no rent."""


@dataclass(frozen=True, slots=True)
class RunTests(Command):
    run: Run
    endpoint_arn: str


@dataclass(frozen=True, slots=True)
class Serve(Command):
    """Watch over the endpoint until `due` ends the serving."""

    mode: ServingMode
    arn: str
    deleted_at: datetime | None = None
    """When a dead man's switch deletes it."""


@dataclass(frozen=True, slots=True)
class Release(Command):
    """Stop the job if it may run, delete what may bill, and wait until both are seen to be gone."""

    uid: str
    account: str
    job_name: str | None
    job_arn: str | None
    job_token: str | None
    mode: ServingMode | None
    endpoint_name: str | None
    endpoint_arn: str | None
    sweep_for: float = 0.0
    """Seconds for which a create of unknown fate may still arrive: look again, and delete again."""
    unseen_for: float = 0.0
    """Seconds for which what was created may not be visible yet, so that not found is not gone."""
    job_expected: bool = True
    """False: no create of the job was sent, so one look that does not find it is enough."""
    switch: DeadManSwitch | None = None
    cancellable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class HandOver(Command):
    """Leave the endpoint to the user, with its expiry written on it."""

    mode: ServingMode
    arn: str
    name: str
    delete_command: str
    expires_at: datetime | None
    switch: DeadManSwitch | None = None


@dataclass(frozen=True, slots=True)
class WriteReport(Command):
    run: Run
    cancellable: ClassVar[bool] = False


def decide(run: Run, *, quiet: timedelta = QUIET, closed_for: float = 0.0) -> Command:  # noqa: C901, PLR0911, PLR0912 - one line a phase
    """
    The next command.

    `closed_for` is the number of seconds, by this process's own clock, since the last moment in which
    any process may have signed a create of this run whose fate is not known; infinite if none was signed.

    Raises:
        ValueError: the run is DONE.
    """
    match run.phase:
        case Phase.STAGING:
            # Claimed and saved before the first upload: nobody else may write there, and a resume finds it.
            return StageImages(run) if run.places is not None else ClaimPlaces(run)
        case Phase.RECORDING:
            return WriteRecords(run)
        case Phase.SUBMITTING:
            # The intent is saved before the effect: a successor must know what to look for.
            if run.job_intent is None or run.refused_job is not None:
                return Record(intend_job(run))
            return SubmitJob(run, run.job_intent, switch_to_verify(run))
        case Phase.TRAINING:
            told, error = run.job_stall is not None, run.job_error
            patience = None if told else seconds_of(run.spec.training.stalled_after)
            return AwaitJob(known(run.job).arn, patience, error.attempt if error is not None else 0)
        case Phase.REQUESTING:
            # As above; and again after a refusal, so that a later create is looked for as well.
            if run.serving_intent is None or run.refused_serving is not None:
                return IntendServing(run)
            return RequestServing(run.serving_intent, run.uid, dead_man_switch(run))
        case Phase.WARMING:
            serving, mode = known(run.serving), known(run.serving_intent).mode
            rents = mode is ServingMode.PROVISIONED and run.spec.test.compare_base
            return AwaitEndpoint(mode, serving.arn, serving.deleted_at, run if rents else None)
        case Phase.TESTING:
            return RunTests(run, known(run.serving).arn)
        case Phase.SERVING:
            serving = known(run.serving)
            return Serve(known(run.serving_intent).mode, serving.arn, serving.deleted_at)
        case Phase.RELEASING:
            return hand_over(run) or release(run, quiet.total_seconds(), closed_for)
        case Phase.REPORTING:
            return WriteReport(run)
        case Phase.DONE:
            raise ValueError(f"run {run.run_id} is done")
        case _:
            assert_never(run.phase)


def due(run: Run, *, now: datetime, cancel_reason: str | None) -> Event | None:
    """What must be recorded before the next command: that a cancel was requested, or the money is used up."""
    if run.phase is Phase.SERVING:
        return serving_over(run, now, cancel_reason)
    if run.serving_end is not None:
        return None  # the cancel has ended the serving, as it was meant to
    if cancel_reason is not None and run.cancelled is None:
        requested = CancelRequested(reason=storable(cancel_reason))
        if accepts(run, requested):
            return requested
    return overdue(run, now)


def serving_over(run: Run, now: datetime, cancel_reason: str | None) -> ServingEnded | None:
    """That the model was served for as long as was asked for, or as its budget allows: a good end."""
    if cancel_reason is not None:
        return ServingEnded(reason=storable(cancel_reason) or "It was ended.")
    until = served_until(run)
    if until is not None and now >= until:
        return ServingEnded(reason="Its time is over.")
    limit = overdue(run, now)
    return None if limit is None else ServingEnded(reason=limit.reason)


def served_until(run: Run) -> datetime | None:
    """When a run in SERVING is to end it; None: when somebody does."""
    seconds = known(run.created.serves).seconds
    return None if seconds is None else run.updated_at + timedelta(seconds=seconds)


def hand_over(run: Run) -> HandOver | None:
    """Leave the endpoint to the user if the spec says so and the run went well."""
    keep = run.spec.serving.keep
    well = run.reason is None and run.cancelled is None
    if keep is False or not well or run.serving is None or run.serving_intent is None:
        return None
    return HandOver(
        mode=run.serving_intent.mode,
        arn=run.serving.arn,
        name=run.serving_intent.name,
        delete_command=names.delete_command(run.serving_intent.mode, run.serving.arn, run.region),
        expires_at=None if keep is True else run.updated_at + timedelta(seconds=seconds_of(keep)),
        switch=dead_man_switch(run),
    )


def dead_man_switch(run: Run) -> DeadManSwitch | None:
    """The schedule that the spec asks for, once the run has said what it rents."""
    asked, intent, served = run.spec.serving.dead_man_switch, run.serving_intent, run.created.serves
    if asked is None or intent is None:
        return None
    return DeadManSwitch(
        schedule_name=names.resource_name(run, "schedule"),
        mode=intent.mode,
        endpoint_name=intent.name,
        role_arn=asked.role_arn,
        # Counted from the request, and meant for warming up and tests: the time to be served comes on top.
        after=seconds_of(asked.after) + (served.seconds or 0.0 if served is not None else 0.0),
    )


def switch_to_verify(run: Run) -> DeadManSwitch | None:
    """
    The schedule that the spec asks for, far off and under another name, so that it can be tried out before
    anything is paid, and by a late process without touching the real one. None: none is asked for, or
    nothing will be rented that it could delete.
    """
    asked, mode = run.spec.serving.dead_man_switch, run.spec.serving.mode
    if asked is None or mode is ServingMode.NONE:
        return None
    return DeadManSwitch(
        schedule_name=names.resource_name(run, "schedule", generation=1),
        mode=mode,
        endpoint_name=names.resource_name(run, endpoint_kind(mode)),
        role_arn=asked.role_arn,
        after=FAR_OFF,
    )


def release(run: Run, quiet: float, closed_for: float) -> Release:
    """Everything of this run that may cost, and for how long more of it may still appear."""
    intent = run.serving_intent
    job = run.job_intent if run.may_train else None
    # An intent without an answer counts as a create that may have been sent: silence proves nothing.
    unsure_job = job is not None and run.job is None
    never_rented = run.serving is None and run.refused_serving is None
    unsure_serving = intent is not None and (run.uncertain_serving is not None or never_rented)
    # What was created a moment ago may not be listed yet, so "not found" does not mean "gone".
    unseen = job is not None or (
        run.serving is not None and run.endpoint is None and run.endpoint_failure is None
    )
    return Release(
        uid=run.uid,
        account=run.account,
        job_name=job.name if job is not None else None,
        job_arn=run.job.arn if job is not None and run.job is not None else None,
        job_token=job.token if job is not None else None,
        mode=intent.mode if intent is not None else None,
        endpoint_name=intent.name if intent is not None else None,
        endpoint_arn=run.serving.arn if run.serving is not None else None,
        # Time that has passed since the last possible create need not be waited for again.
        sweep_for=max(0.0, quiet - closed_for) if unsure_job or unsure_serving else 0.0,
        unseen_for=max(0.0, NOT_YET_VISIBLE - closed_for) if unseen else 0.0,
        job_expected=run.job is not None or isfinite(closed_for),
        switch=dead_man_switch(run),
    )
