"""health: for a container's HEALTHCHECK; no network, and nothing heavy imported."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option(
    "--file",
    "heartbeat_file",
    envvar="VLM_RUNNER_HEARTBEAT_FILE",
    type=click.Path(dir_okay=False),
    help="The heartbeat; else VLM_RUNNER_HEARTBEAT_FILE.",
)
@click.option("--max-age", default=60.0, show_default=True, help="Seconds after which it is too old.")
def health(heartbeat_file: str | None, max_age: float) -> None:
    """Say whether the runner that shares this file system lives: exit 0, or 1 if its heartbeat is old.

    \b
    Example:
        vlm-runner health --max-age 60
    """
    from pathlib import Path

    from vlm_runner.errors import UsageError
    from vlm_runner.heartbeat import age

    if heartbeat_file is None:
        raise UsageError(
            "No heartbeat file is named.", hint="Set VLM_RUNNER_HEARTBEAT_FILE for runner and health alike."
        )
    seconds = age(Path(heartbeat_file))
    if seconds is None:
        click.echo(f"No heartbeat at {heartbeat_file}.")
        sys.exit(1)
    click.echo(f"The last heartbeat is {seconds:.0f} s old.")
    sys.exit(0 if seconds <= max_age else 1)
