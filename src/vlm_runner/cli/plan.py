"""plan: what a run would do, and what it would cost."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.options import json_option, where_options


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option("--run-id", metavar="ID", help="The run's id, as for start.")
@click.option("--offline", is_flag=True, help="Make no AWS requests: only the data and the prices.")
@json_option
@where_options
def plan(**given: Any) -> None:
    """Show what SPEC would create and cost; runs lint and doctor. Changes nothing.

    Prices come from the model catalogue, with source and date; one that is not known is "unknown", never a
    guess. Set it in a file of your own, and name that in VLM_RUNNER_CATALOGUE:

    \b
        [models."amazon.nova-lite-v1:0:300k".prices]
        training_per_million_tokens = 0.00     # what your account pays, in US dollars
        throughput_per_unit_hour = 0.00

    \b
    Example:
        vlm-runner plan run.toml
        vlm-runner plan run.toml --offline --json | jq .cost.expected
    """
    from vlm_runner.cli.plan_spec import plan_spec  # noqa: PLC0415 - not for --help

    plan_spec(**given)
