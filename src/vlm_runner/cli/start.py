"""start, resume, cancel."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.completion import complete_phases
from vlm_runner.cli.options import (
    doctor_option,
    duration,
    json_option,
    run_id_option,
    verbosity_options,
    verify_option,
    where_options,
    yes_option,
)
from vlm_runner.cli.run_argument import run_argument

TIMEOUT_HELP = "Stop after, e.g., 90m; the run can be resumed."


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@run_id_option
@yes_option
@click.option(
    "-d", "--detach", is_flag=True, help="Drive the run in the background, and return once it runs."
)
@click.option("--lint/--no-lint", default=True, help="Check every row before anything is created.")
@doctor_option
@click.option("--timeout", metavar="TIME", callback=duration, help=TIMEOUT_HELP)
@verify_option
@json_option
@verbosity_options
@where_options
def start(**given: Any) -> None:
    """Run SPEC and show its progress; resume the run if it exists.

    The same spec is the same run: starting it twice does not pay twice.

    \b
    Example:
        vlm-runner start run.toml
        vlm-runner start run.toml --yes --detach
    """
    from vlm_runner.cli.start_run import start_run  # noqa: PLC0415 - not for --help

    start_run(**given)


@click.command()
@run_argument()
@click.option(
    "--until", metavar="PHASE", shell_complete=complete_phases, help="Stop after this phase, e.g. recording."
)
@click.option("--timeout", metavar="TIME", callback=duration, help=TIMEOUT_HELP)
@verify_option
@json_option
@verbosity_options
@where_options
def resume(**given: Any) -> None:
    """Continue RUN, on any machine that reaches its checkpoint.

    \b
    Example:
        vlm-runner resume for-vlm-accessibility-3f2a9c01
    """
    from vlm_runner.cli.start_run import resume_run  # noqa: PLC0415 - as above

    resume_run(**given)


@click.command()
@run_argument()
@click.option("--reason", default="", help="Reason, kept in the run's history.")
@click.option("-d", "--detach", is_flag=True, help="Request the cancellation, and return at once.")
@json_option
@verbosity_options
@where_options
def cancel(**given: Any) -> None:
    """Stop what RUN pays for, delete it, and report. Exits with 103 once that is done.

    \b
    Example:
        vlm-runner cancel for-vlm-accessibility-3f2a9c01 --reason "wrong split"
    """
    from vlm_runner.cli.start_run import cancel_run  # noqa: PLC0415 - as above

    cancel_run(**given)
