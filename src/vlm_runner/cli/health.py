"""health: for a container's HEALTHCHECK; no network, and nothing heavy imported."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vlm_runner.cli import console
from vlm_runner.errors import UsageError
from vlm_runner.heartbeat import age


@click.command()
@click.option(
    "--file",
    "heartbeat_file",
    envvar="VLM_RUNNER_HEARTBEAT_FILE",
    type=click.Path(dir_okay=False),
    help="The heartbeat file. Default: VLM_RUNNER_HEARTBEAT_FILE.",
)
@click.option("--max-age", default=60.0, show_default=True, help="Seconds after which it is too old.")
def health(heartbeat_file: str | None, max_age: float) -> None:
    """Check the heartbeat of a runner on this machine.

    Exits with 0, or with 1 if the heartbeat is missing or too old.

    \b
    Example:
        vlm-runner health --max-age 60
    """
    if heartbeat_file is None:
        raise UsageError(
            "No heartbeat file is named.", hint="Set VLM_RUNNER_HEARTBEAT_FILE for runner and health alike."
        )
    seconds = age(Path(heartbeat_file))
    if seconds is None:
        console.result(f"No heartbeat at {heartbeat_file}.")
        sys.exit(1)
    click.echo(f"The last heartbeat is {seconds:.0f} s old.")
    sys.exit(0 if seconds <= max_age else 1)
