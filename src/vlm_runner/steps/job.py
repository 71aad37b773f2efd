"""SUBMITTING and TRAINING: create the customization job at most once, and wait for its end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vlm_runner.core.decide import AwaitJob, SubmitJob
from vlm_runner.core.events import JobCompleted, JobErred, JobFailed, JobStalled, JobSubmitted
from vlm_runner.core.failure import erred_before_training
from vlm_runner.core.pace import Unseen
from vlm_runner.core.signals import RemoteStatusChanged
from vlm_runner.core.text import storable
from vlm_runner.errors import AwsRefused
from vlm_runner.steps import dead_man_switch
from vlm_runner.steps.as_written import refuse_changed_objects
from vlm_runner.steps.polling import counts_as_gone, poll
from vlm_runner.steps.registry import performs
from vlm_runner.steps.whose_account import account_of, refuse_other_account

if TYPE_CHECKING:
    from datetime import datetime

    from vlm_runner.aws.ports import CustomModel, Job
    from vlm_runner.steps.ports import Ports

RUNNING = frozenset({"InProgress", "Stopping"})
ENDED_BADLY = frozenset({"Failed", "Stopped"})
ENDED = ENDED_BADLY | {"Completed"}


@performs(SubmitJob)
async def submit_job(command: SubmitJob, ports: Ports) -> JobSubmitted:
    """
    Create the job, or adopt the one that an earlier attempt created.

    The name is looked up first, because AWS does not document how long Bedrock remembers a client request
    token, and a run may be resumed days later.

    Raises:
        ObjectChanged: something else replaced or deleted what it would be given.
        AwsRefused: Bedrock will not create it, a job that is not ours has its name, or the dead man's switch
            cannot be used.
        UncertainCreate: it may have been created.
        AwsUnavailable: nothing was created, and may be later.
    """
    if found := await _ours(command, ports):
        return JobSubmitted(arn=found.arn, adopted=True)
    # After the look for a job that exists: that one was given what was there when it was created.
    await refuse_changed_objects(command.run, ports)
    await dead_man_switch.verify(command.switch_to_verify, ports)
    try:
        return JobSubmitted(arn=await ports.aws.bedrock.create_job(command.intent.request))
    except AwsRefused:
        # Perhaps the name is taken, by an earlier request of ours whose answer was lost.
        if found := await _ours(command, ports):
            return JobSubmitted(arn=found.arn, adopted=True)
        raise


async def _ours(command: SubmitJob, ports: Ports) -> Job | None:
    intent = command.intent
    found = await ports.aws.bedrock.find_job(intent.name)
    if found is not None and found.token != intent.token:
        raise AwsRefused(
            f"A customization job named {intent.name} exists and is not this run's ({found.arn}).",
            hint="It was not created by vlm-runner. Start again with another --run-id.",
        )
    return found


@performs(AwaitJob)
async def await_job(command: AwaitJob, ports: Ports) -> JobCompleted | JobFailed | JobStalled | JobErred:
    """
    Wait for the job's end, however long it takes, and then for its model to be Active.

    Returns before that once nothing has moved for `command.stalled_after`.

    Raises:
        OtherAccount: it was not found, and was looked for in another account.
    """
    shown: tuple[str, tuple[tuple[str, str], ...]] | None = None
    began, unseen = ports.clock.elapsed(), Unseen()
    moved = began

    async def look() -> Job | None:
        return await ports.aws.bedrock.find_job(command.arn)

    async for job in poll(ports, "watching the job", look, about=command.arn):
        if job is None:
            unseen = unseen.another(ports.clock.elapsed())
            if not counts_as_gone(unseen, began, ports):
                continue
            await refuse_other_account(account_of(command.arn), ports)
            return JobFailed(status="Gone", reason=f"Bedrock no longer knows the job {command.arn}.")
        unseen = Unseen()
        state = (job.status, tuple(sorted(job.details.items())))
        if state != shown:
            shown, moved = state, ports.clock.elapsed()
            ports.signal(
                RemoteStatusChanged(what="job", arn=job.arn, status=job.status, details=dict(job.details))
            )
            if job.status not in RUNNING | ENDED:
                ports.trouble("watching the job", f"unknown status '{job.status}', still waiting")
        if job.status in ENDED_BADLY:
            return _ended_badly(job, command.erred)
        if job.status == "Completed" and job.model_arn is not None:
            return await _await_model(job, job.model_arn, ports)
        still = _still_for(job, ports.clock.elapsed() - moved, ports.clock.now())
        if command.stalled_after is not None and still >= command.stalled_after:
            return JobStalled(status=job.status, details=dict(job.details), seconds=round(still))
    raise AssertionError("poll never ends")


def _ended_badly(job: Job, erred: int) -> JobFailed | JobErred:
    reason = storable(job.failure or "Bedrock gave no reason.")
    if job.status == "Failed" and erred_before_training(job.failure, job.details, erred):
        return JobErred(arn=job.arn, reason=reason, attempt=erred + 1)
    return JobFailed(status=job.status, reason=reason)


def _still_for(job: Job, seen: float, now: datetime) -> float:
    """Seconds since the job last changed: by what this process has `seen`, and by what AWS says of before."""
    if job.modified_at is None:
        return seen
    return max(0.0, (now - job.modified_at).total_seconds())


async def _await_model(job: Job, model_arn: str, ports: Ports) -> JobCompleted | JobFailed:
    """A model can be served only when Active, which is some time after its job is Completed."""
    began, unseen = ports.clock.elapsed(), Unseen()

    async def look() -> CustomModel | None:
        return await ports.aws.bedrock.find_model(model_arn)

    async for model in poll(ports, "waiting for the model", look):
        if model is None:
            unseen = unseen.another(ports.clock.elapsed())
            if not counts_as_gone(unseen, began, ports):
                continue
            await refuse_other_account(account_of(model_arn), ports)
            return JobFailed(status="Gone", reason=f"Bedrock no longer knows the model {model_arn}.")
        unseen = Unseen()
        if model.status == "Failed":
            failure = model.failure or f"The model {model_arn} failed."
            return JobFailed(status="Failed", reason=storable(failure))
        if model.status == "Active":
            return JobCompleted(
                model_arn=model_arn,
                training_loss=_finite(job.training_loss),
                validation_loss=_finite(job.validation_loss),
            )
        ports.signal(RemoteStatusChanged(what="model", arn=model_arn, status=model.status))
    raise AssertionError("poll never ends")


def _finite(number: float | None) -> float | None:
    """A training that diverged has a loss of NaN, which JSON cannot hold."""
    return number if number is not None and math.isfinite(number) else None
