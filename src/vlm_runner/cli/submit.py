"""submit: the run is driven by an ECS task."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.aws.session import AwsSession
from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.confirm import Consent
from vlm_runner.cli.options import Where, doctor_option, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.start import create
from vlm_runner.errors import ConfigurationError
from vlm_runner.runner import Runner
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from vlm_runner.aws.ecs import EcsTarget
    from vlm_runner.core.run import Run
    from vlm_runner.json_output import SubmittedJson
    from vlm_runner.settings import Settings


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option("--run-id", metavar="ID", help="The run's id. Default: derived from the spec.")
@click.option(
    "--stack",
    metavar="NAME",
    default="vlm-runner",
    show_default=True,
    help="Stack of deploy/template.yaml.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@doctor_option
@json_option
@where_options
def submit(
    spec_file: str,
    run_id: str | None,
    *,
    stack: str,
    yes: bool,
    doctor: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Check SPEC, save the run, and drive it in an ECS task.

    Prints the run id.

    The dataset is read here too, so it must be one that the task reaches as well: on the Hub, or at the same
    place in its image.
    Submitting the same run again starts no second task.

    \b
    Example:
        vlm-runner submit run.toml --stack vlm-runner
        vlm-runner events RUN -f
    """
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(Where(**flags), spec_region=spec.aws.region)
    note_local_dataset(spec)
    consent = Consent(spec_file=spec_file, yes=yes, doctor=doctor, driven_here=False)
    run, task, place = anyio.run(partial(_submit, settings, spec, run_id, stack, consent))
    console.say(f"Run {run.run_id} is driven by task {task}.")
    console.say(f"Follow it: vlm-runner events {run.run_id} -f --store {place.checkpoint_uri}")
    if as_json:
        shown: SubmittedJson = {
            "run_id": run.run_id,
            "task": task,
            "checkpoint_uri": str(place.checkpoint_uri),
        }
        console.result_json(shown)
    else:
        console.result(run.run_id)


def note_local_dataset(spec: RunSpec) -> None:
    """Only a warning: the image of the task may contain the data at the same path."""
    if Path(spec.dataset.source).expanduser().exists():
        console.say(
            f"vlm-runner: {spec.dataset.source} is on this machine. Where the run is driven it must be at "
            "the same place, or dataset.source must be on the Hub."
        )


async def _submit(
    settings: Settings, spec: RunSpec, run_id: str | None, stack: str, consent: Consent
) -> tuple[Run, str, EcsTarget]:
    if settings.region is None:
        raise ConfigurationError("The stack's region is unknown.", hint="Give --region, or set AWS_REGION.")
    async with AwsSession(
        region=settings.region, profile=settings.profile, endpoint_url=settings.endpoint_url
    ) as session:
        ecs = session.ecs()
        place = await ecs.place(stack)
        settings = settings.model_copy(update={"checkpoint_uri": place.checkpoint_uri})
        async with Runner.open(settings) as runner:
            name = await create(runner, settings, spec, run_id, consent)
            checkpoint, _ = await lease.load(runner.store, name)
        run = checkpoint.run
        task = await ecs.run_task(place, ["resume", run.run_id], token=token_of(run), run_id=run.run_id)
    return run, task, place


def token_of(run: Run) -> str:
    """
    The same until the run advances: two concurrent submissions start one task.

    Once a task has moved it on and has ended, submitting it again starts another one. RunTask takes 33 to
    64 characters (ECS API reference, clientToken).
    """
    return hashlib.sha256(f"submit|{run.uid}|{run.sequence}".encode()).hexdigest()
