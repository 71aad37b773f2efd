"""reap: what outlived its run."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.options import delete_option, duration, json_option, where_options


@click.command()
@delete_option
@click.option(
    "--older-than",
    metavar="TIME",
    callback=duration,
    help="Also delete what no readable run explains, if it is older than this, e.g. 12h. With --models: only "
    "models that are older.",
)
@click.option("--models", is_flag=True, help="Delete custom models instead of endpoints.")
@json_option
@where_options
def reap(**given: Any) -> None:
    """Delete endpoints of vlm-runner that outlived their run.

    They are throughputs and deployments whose run has ended, or whose time is over; only those with our
    name and our tag are considered. Exits with 104 while something that outlived its run,
    or that no readable run explains, may still bill, so that a scheduled job can raise an alarm.
    Takes 90 seconds (VLM_RUNNER_POLL__GONE_AFTER), in which it lists them three times, and as long again
    where it deletes.

    \b
    Example:
        vlm-runner reap --region us-east-1                    what there is, and what would be deleted
        vlm-runner reap --region us-east-1 --yes              delete what outlived its run
        vlm-runner reap --yes --older-than 12h                and what no run of this store knows
        vlm-runner reap --models --older-than 30d --yes       unused models of our runs, but for kept ones
    """
    from vlm_runner.cli.reap_endpoints import reap_endpoints  # noqa: PLC0415 - not for --help

    reap_endpoints(**given)
