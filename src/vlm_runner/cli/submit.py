"""submit: the run is driven by an ECS task."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.options import (
    doctor_option,
    json_option,
    run_id_option,
    verbosity_options,
    where_options,
    yes_option,
)
from vlm_runner.core.names import DEFAULT_STACK


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@run_id_option
@click.option(
    "--stack",
    metavar="NAME",
    default=DEFAULT_STACK,
    show_default=True,
    help="Stack of deploy/template.yaml.",
)
@yes_option
@doctor_option
@json_option
@verbosity_options
@where_options
def submit(**given: Any) -> None:
    """Check SPEC, save the run, and drive it in an ECS task.

    Prints the run id.

    A dataset on this machine is uploaded from here first: the task goes on from the records in S3, and needs
    no dataset. Interrupted, the same command continues the upload.
    Submitting the same run again starts no second task.

    \b
    Example:
        vlm-runner submit run.toml --stack vlm-runner
        vlm-runner events RUN -f
    """
    from vlm_runner.cli.submit_run import submit_run  # noqa: PLC0415 - not for --help

    submit_run(**given)
