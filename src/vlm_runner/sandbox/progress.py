"""What happens to jobs as time passes. Each call to Bedrock settles the state first; so does a thread."""

from dataclasses import replace
from datetime import datetime

from vlm_runner.sandbox.deployments import remove_deleted
from vlm_runner.sandbox.job_output import write_accepted_data, write_metrics
from vlm_runner.sandbox.ledger import Entry
from vlm_runner.sandbox.resources import CustomModel, Job, Region, later
from vlm_runner.sandbox.schedules import run_due
from vlm_runner.sandbox.state import SandboxState, tags_of

PROCESSING_SECONDS = 720.0
# A guess in the range that people report for small datasets: 1 to 4 hours, whatever the size.
LEAST_TRAINING_SECONDS = 2700.0
TOKENS_PER_SECOND = 500.0


def settle(state: SandboxState) -> None:
    """Bring every job up to date with the clock, with its files, model, costs and events."""
    with state.lock:
        now = state.now()
        for region, job in list(state.jobs()):
            if job.published_status not in {"Completed", "Failed", "Stopped"}:
                _settle_job(state, region, job, now)
        for region in state.regions.values():
            remove_deleted(region, now)
        state.event_publisher.deliver(now)
        run_due(state, now)


def _settle_job(state: SandboxState, region: Region, job: Job, now: datetime) -> None:
    if job.verdict and job.processed_at is None and job.fails_at is None:
        _schedule(state, job)
    if job.verdict:
        job.entry.tokens_trained = int(job.verdict.tokens * job.epochs * job.trained_fraction(now))
        if job.verdict.files and now >= job.validated_at:
            write_accepted_data(job, job.verdict.files, state.objects)
            job.verdict = replace(job.verdict, files=())
    status = job.status(now)
    if status == job.published_status:
        return
    job.published_status = status
    job.entry.ended_at = job.ended_at(now)
    if status == "Completed":
        write_metrics(job, state.objects, state.random)
        _produce_model(state, region, job)
    state.scenario = state.event_publisher.publish(region.name, job, now, now, state.scenario)


def _schedule(state: SandboxState, job: Job) -> None:
    verdict, total = job.verdict, state.scenario.job_seconds
    if job.stalled and verdict is not None and not verdict.failure:
        return
    if verdict is None or verdict.failure:
        job.failure = verdict.failure if verdict else None
        job.fails_at = job.validated_at
        return
    training = max(LEAST_TRAINING_SECONDS, verdict.tokens * job.epochs / TOKENS_PER_SECOND)
    job.processed_at = later(job.validated_at, PROCESSING_SECONDS if total is None else total * 0.1)
    job.completes_at = later(job.processed_at, training if total is None else total * 0.8)
    if job.failure:
        job.fails_at = job.processed_at + (job.completes_at - job.processed_at) / 2


def _produce_model(state: SandboxState, region: Region, job: Job) -> None:
    born = job.completes_at or state.now()
    name = job.request["customModelName"]
    entry = Entry("custom_model", name, job.model_arn, region.name, born, job.model, lambda _: "Creating")
    active_at = later(born, state.scenario.model_creating_seconds)
    model = CustomModel(job.model_arn, name, job, born, active_at, entry)
    entry.status = model.status
    region.models[model.arn] = model
    region.tags[model.arn] = tags_of(job.request, "customModelTags")
    entry.tags = tags_of(job.request, "customModelTags")
    state.ledger.open(entry)
