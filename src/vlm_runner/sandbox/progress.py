"""What happens to jobs because time passes: whoever settles the world makes it so, asked or not."""

from datetime import datetime

from vlm_runner.sandbox.ledger import Entry
from vlm_runner.sandbox.metrics import write_metrics
from vlm_runner.sandbox.resources import CustomModel, Job, Region, later
from vlm_runner.sandbox.schedules import run_due
from vlm_runner.sandbox.state import SandboxState, tags_of

PROCESSING_SECONDS = 720.0
# A guess in the range people report: 1 to 4 hours for small sets, whatever their size.
LEAST_TRAINING_SECONDS = 2700.0
TOKENS_PER_SECOND = 500.0


def settle(world: SandboxState) -> None:
    """Bring every job to where the clock says it is, with its files, model, bill and events."""
    with world.lock:
        now = world.now()
        for region, job in list(world.jobs()):
            if job.announced not in {"Completed", "Failed", "Stopped"}:
                _settle_job(world, region, job, now)
        world.announcer.deliver(now)
        run_due(world, now)


def _settle_job(world: SandboxState, region: Region, job: Job, now: datetime) -> None:
    if job.verdict and job.processed_at is None and job.fails_at is None:
        _schedule(world, job)
    if job.verdict:
        job.entry.tokens_trained = int(job.verdict.tokens * job.epochs * job.trained_fraction(now))
    status = job.status(now)
    if status == job.announced:
        return
    job.announced = status
    job.entry.ended_at = job.ended_at(now)
    if status == "Completed":
        write_metrics(job, world.objects, world.random)
        _produce_model(world, region, job)
    world.scenario = world.announcer.announce(region.name, job, now, now, world.scenario)


def _schedule(world: SandboxState, job: Job) -> None:
    verdict, total = job.verdict, world.scenario.job_seconds
    if verdict is None or verdict.failure:
        job.failure = verdict.failure if verdict else None
        job.fails_at = job.validated_at
        return
    training = max(LEAST_TRAINING_SECONDS, verdict.tokens * job.epochs / TOKENS_PER_SECOND)
    job.processed_at = later(job.validated_at, PROCESSING_SECONDS if total is None else total * 0.1)
    job.completes_at = later(job.processed_at, training if total is None else total * 0.8)
    if job.failure:
        job.fails_at = job.processed_at + (job.completes_at - job.processed_at) / 2


def _produce_model(world: SandboxState, region: Region, job: Job) -> None:
    born = job.completes_at or world.now()
    name = job.request["customModelName"]
    entry = Entry("custom_model", name, job.model_arn, region.name, born, job.model, lambda _: "Creating")
    active_at = later(born, world.scenario.model_creating_seconds)
    model = CustomModel(job.model_arn, name, job, born, active_at, entry)
    entry.status = model.status
    region.models[model.arn] = model
    region.tags[model.arn] = tags_of(job.request, "customModelTags")
    world.ledger.open(entry)
