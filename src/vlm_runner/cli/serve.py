"""serve: the model of a finished run, served again and asked more rows."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.options import duration, json_option, verbosity_options, where_options, yes_option
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.serving_mode import ServingMode

MODE_NAMES = [mode.value for mode in ServingMode if mode is not ServingMode.NONE]


@click.command()
@run_argument()
@click.option("--for", "seconds", metavar="TIME", callback=duration, help="How long to serve it, e.g. 2h.")
@click.option("--rows", metavar="N", type=click.IntRange(min=1), help="Ask it about N rows, and report.")
@click.option("--split", metavar="NAME", help="Split of the rows to ask about; they are uploaded first.")
@click.option("--dataset", metavar="SOURCE", help="Ask about rows of another dataset of the same columns.")
@click.option("--compare-with", metavar="RUN", help="Then ask that run's model the same, and compare them.")
@click.option("--compare-base", is_flag=True, help="Ask the base model the same rows.")
@click.option(
    "--mode",
    type=click.Choice(MODE_NAMES),
    default="auto",
    help="Serving mode. Default: on demand where the model can be.",
)
@click.option(
    "--model-units", metavar="N", type=click.IntRange(min=1), default=1, help="Model units of a throughput."
)
@click.option(
    "--max-cost",
    metavar="USD",
    type=click.FloatRange(min=0),
    help="Release it before it costs more than this.",
)
@click.option("--run-id", "serving_id", metavar="ID", help="Id of the serving run. Default: RUN-serve.")
@yes_option
@click.option("-d", "--detach", is_flag=True, help="Serve in the background, and return once it is driven.")
@json_option
@verbosity_options
@where_options
def serve(**given: Any) -> None:
    """Serve the model of a finished RUN again. Nothing is trained.

    The serving is a run of its own: it can be resumed, deletes its endpoint at its end, and is known to reap.
    With --rows it asks, reports and ends; else it serves for the time of --for, or until Ctrl-C or
    `vlm-runner cancel` ends it.

    \b
    Example:
        vlm-runner serve cats --for 2h
        vlm-runner serve cats --rows 50 --split test --compare-with kittens
    """
    from vlm_runner.cli.serve_run import serve_run  # noqa: PLC0415 - not for --help

    serve_run(**given)
