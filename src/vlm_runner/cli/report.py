"""report: one HTML page about a run, or about several beside each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.errors import UsageError
from vlm_runner.report.render import page
from vlm_runner.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.report.assemble import RunReport
    from vlm_runner.settings import Settings


@click.command()
@run_argument(several=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; - prints it. Default: RUN.html.",
)
@json_option
@where_options
def report(run_ids: tuple[str, ...], *, output: Path | None, as_json: bool, **flags: Any) -> None:
    """Write an HTML page about RUN, or compare several runs.

    The page is self-contained.

    It works for a run that still goes on, and where S3 cannot be reached: then the page says what it lacks.

    \b
    Example:
        vlm-runner report for-vlm-accessibility-3f2a9c01 -o report.html
        vlm-runner report first second third -o compared.html
    """
    reports = anyio.run(partial(load_reports, settings_for(Where(**flags)), run_ids))
    if as_json:
        facts = [report.facts for report in reports]
        console.result_json(facts[0] if len(facts) == 1 else facts)
    if as_json and output is None:
        return
    html = page(reports)
    if str(output) == "-":
        click.echo(html.encode(errors="replace"))  # UTF-8, as it says itself, whatever the terminal takes
        return
    path = output or Path(f"{run_ids[0] if len(run_ids) == 1 else 'compared'}.html")
    save(html, path)
    console.say(f"The page of {', '.join(run_ids)} is {path.absolute()}")


def save(html: str, path: Path) -> None:
    """
    Raises:
        UsageError: it cannot be written there.
    """
    try:
        path.write_bytes(html.encode(errors="replace"))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


async def load_reports(settings: Settings, run_ids: Sequence[str]) -> list[RunReport]:
    """From the checkpoints, and what their buckets hold."""
    async with Runner.open(settings) as runner:
        return [await runner.report(run_id) for run_id in dict.fromkeys(run_ids)]
