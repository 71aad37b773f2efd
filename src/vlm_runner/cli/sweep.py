"""sweep: many runs that differ in a few values."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.start import confirm_plan
from vlm_runner.errors import Stopped
from vlm_runner.report.summary import may_bill
from vlm_runner.runner import Runner
from vlm_runner.sweep import table
from vlm_runner.sweep.drive import SweepDriver
from vlm_runner.sweep.plan import read_sweep
from vlm_runner.watch.log import LogWatcher, configure_logging

if TYPE_CHECKING:
    from vlm_runner.settings import Settings
    from vlm_runner.sweep.drive import Result
    from vlm_runner.sweep.plan import Sweep


@click.command()
@click.argument("sweep_file", metavar="SWEEP", type=click.Path(dir_okay=False))
@click.option("-y", "--yes", is_flag=True, help="Spend without asking.")
@click.option("--dry-run", is_flag=True, help="List the runs; touch nothing.")
@json_option
@where_options
def sweep(sweep_file: str, *, yes: bool, dry_run: bool, as_json: bool, **flags: Any) -> None:
    """Run every combination of SWEEP, and compare them.

    Images are uploaded once; jobs and throughputs are taken in turn, as many at a time as the file says.
    Starting the same sweep again resumes each of its runs.

    \b
    Example:
        vlm-runner sweep sweep.toml --dry-run

    \b
    A sweep.toml:
        spec = "run.toml"
        jobs = 2
        [grid]
        "training.hyperparameters.learningRate" = [0.00001, 0.00005]
        "training.hyperparameters.epochCount" = [1, 2, 3]
    """
    plan = read_sweep(Path(sweep_file))
    if dry_run:
        for planned in plan.runs:
            console.result(f"{planned.run_id}  {planned.values}")
        return
    settings = settings_for(Where(**flags), spec_region=plan.runs[0].spec.aws.region)
    results = anyio.run(partial(_sweep, settings, plan, yes=yes))
    rows = table.rows(results)
    console.result_json(rows) if as_json else console.result(table.table_text(rows))
    for result in results:
        if result.error is not None:
            console.say(f"vlm-runner: run {result.planned.run_id}: {result.error}")
    sys.exit(code_of(results))


def code_of(results: list[Result]) -> int:
    """0 if all succeeded; 104 if anything may still bill; 75 if some can be gone on with; else 100."""
    if all(result.succeeded for result in results):
        return 0
    unfinished = [one for one in results if one.run is None or not one.run.done]
    if any(one.run is not None and one.run.done and may_bill(one.run) for one in results):
        return 104
    return 75 if unfinished else 100


async def _sweep(settings: Settings, plan: Sweep, *, yes: bool) -> list[Result]:
    configure_logging("text" if sys.stderr.isatty() else "json", "normal")
    results: list[Result] = []

    def print_result(result: Result) -> None:
        state = result.run.outcome if result.run is not None else None
        console.say(f"Run {result.planned.run_id}: {state or 'not finished'}.")

    async with Runner.open(settings, watchers=[LogWatcher()]) as runner:
        driver = SweepDriver(plan, runner)
        created = await driver.prepare()
        created = [
            # The rows are the same for all: they are linted once.
            await confirm_plan(runner, one, yes=yes, lint=number == 0)
            for number, one in enumerate(created)
        ]
        async with anyio.create_task_group() as group:

            async def obey() -> None:
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    async for _ in signals:
                        console.say("Stopping: effects in flight are recorded, and remote work continues.")
                        await runner.stop()
                        group.cancel_scope.cancel()

            group.start_soon(obey)
            results = await driver.drive(created, print_result)
            group.cancel_scope.cancel()
        if not results:
            raise Stopped("The sweep was stopped.", hint="Resume it with the same command.")
    return results
