"""sagemaker: the same run as a SageMaker Pipeline."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.options import (
    doctor_option,
    duration,
    json_option,
    run_id_option,
    where_options,
    yes_option,
)
from vlm_runner.core.names import DEFAULT_PIPELINE
from vlm_runner.sagemaker.definition import (
    INSTANCE_TYPE,
    MOST_TRAIN_DAYS,
    TRAIN_DAYS,
)

POLL_SECONDS = 30.0

name_option = click.option(
    "--name", default=DEFAULT_PIPELINE, show_default=True, help="Name of the pipeline; many runs share one."
)


@click.group()
def sagemaker() -> None:
    """Run a spec as a SageMaker Pipeline.

    Its steps: upload images, upload JSONL, train, then serve, test and release.

    \b
    Example:
        vlm-runner sagemaker upsert --image IMAGE --role-arn ROLE --instances 4 --store s3://bucket/checkpoints
        vlm-runner sagemaker start run.toml --yes --store s3://bucket/checkpoints
        vlm-runner sagemaker wait RUN
    """


@sagemaker.command()
@name_option
@click.option("--image", required=True, help="Image built from deploy/Dockerfile, in ECR.")
@click.option("--role-arn", required=True, help="Role that the steps run under.")
@click.option("--instance-type", default=INSTANCE_TYPE, show_default=True)
@click.option("--instances", default=1, show_default=True, help="Instances that upload images in parallel.")
@click.option(
    "--train-days",
    type=click.IntRange(1, MOST_TRAIN_DAYS),
    default=TRAIN_DAYS,
    show_default=True,
    help="Days that the step which waits for training may take; more than 5 needs a higher quota.",
)
@click.option(
    "--env", multiple=True, metavar="NAME=VALUE", help="Environment variable of every step; no secrets."
)
@click.option("--subnet", multiple=True, help="Subnet, to run in a VPC.")
@click.option("--security-group", multiple=True, help="Security group, to run in a VPC.")
@click.option("--print", "only_print", is_flag=True, help="Print the definition; change nothing.")
@json_option
@where_options
def upsert(**given: Any) -> None:
    """Create the pipeline, or bring it up to date. Nothing runs yet.

    \b
    Example:
        vlm-runner sagemaker upsert --image IMAGE --role-arn ROLE --store s3://bucket/checkpoints
    """
    from vlm_runner.cli.pipeline import upsert_pipeline  # noqa: PLC0415 - not for --help

    upsert_pipeline(**given)


@sagemaker.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@name_option
@run_id_option
@yes_option
@click.option(
    "--instances", type=click.IntRange(1, 100), help="Instances that upload images. Default: as upserted."
)
@click.option("--instance-type", help="Instance type. Default: as upserted.")
@click.option("--role-arn", help="Role that the steps run under. Default: as upserted.")
@click.option("--selective", "steps", multiple=True, metavar="STEP", help="Run only this step again.")
@doctor_option
@json_option
@where_options
def start(**given: Any) -> None:
    """Save SPEC's run, and start the pipeline for it; or go on with the execution that is under way.

    After a failure this goes on where the run stands: what was uploaded is not uploaded again.

    \b
    Example:
        vlm-runner sagemaker start run.toml --yes
        vlm-runner sagemaker start run.toml --yes --selective ServeTestRelease
    """
    from vlm_runner.cli.pipeline import start_execution  # noqa: PLC0415 - as above

    start_execution(**given)


@sagemaker.command()
@click.argument("run", metavar="RUN")
@name_option
@json_option
@where_options
def describe(**given: Any) -> None:
    """Show RUN's newest execution: its status, its steps, and why one failed.

    \b
    Example:
        vlm-runner sagemaker describe for-vlm-accessibility-3f2a9c01
    """
    from vlm_runner.cli.pipeline import describe_execution  # noqa: PLC0415 - as above

    describe_execution(**given)


@sagemaker.command()
@click.argument("run", metavar="RUN")
@name_option
@click.option("--timeout", metavar="TIME", callback=duration, help="Stop watching after, e.g., 90m.")
@click.option("--poll", default=POLL_SECONDS, show_default=True, help="Seconds between two looks.")
@json_option
@where_options
def wait(**given: Any) -> None:
    """Wait for the end of RUN's newest execution. Exits 0 succeeded, 100 failed, 103 stopped, 101 not yet.

    \b
    Example:
        vlm-runner sagemaker wait for-vlm-accessibility-3f2a9c01 --timeout 12h
    """
    from vlm_runner.cli.pipeline import wait_for_execution  # noqa: PLC0415 - as above

    wait_for_execution(**given)


@sagemaker.command()
@click.argument("run", metavar="RUN")
@name_option
@where_options
def stop(**given: Any) -> None:
    """Stop RUN's execution. What it rents is left as it is: `vlm-runner cancel RUN` releases it.

    \b
    Example:
        vlm-runner sagemaker stop for-vlm-accessibility-3f2a9c01
    """
    from vlm_runner.cli.pipeline import stop_execution  # noqa: PLC0415 - as above

    stop_execution(**given)


@sagemaker.command()
@name_option
@where_options
def delete(**given: Any) -> None:
    """Delete the pipeline; runs, and what they made, stay.

    \b
    Example:
        vlm-runner sagemaker delete
    """
    from vlm_runner.cli.pipeline import delete_pipeline  # noqa: PLC0415 - as above

    delete_pipeline(**given)
