"""What `sweep` does: all runs of a sweep, and their comparison."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.cli import console
from vlm_runner.cli.confirm import Consent, confirm
from vlm_runner.cli.foreground import STOPPING, say, show_money, stop_signals, watchers
from vlm_runner.cli.options import split_flags
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.streams import unfailing
from vlm_runner.errors import Stopped
from vlm_runner.report.money import together
from vlm_runner.report.summary import may_bill
from vlm_runner.runner import Runner
from vlm_runner.sweep import table
from vlm_runner.sweep.compare import ranked_by, standings, verdict
from vlm_runner.sweep.drive import SweepDriver
from vlm_runner.sweep.plan import read_sweep

if TYPE_CHECKING:
    from vlm_runner.bus import Watcher
    from vlm_runner.settings import Settings
    from vlm_runner.sweep.compare import Result
    from vlm_runner.sweep.plan import Sweep


@unfailing()
def sweep_runs(
    sweep_file: str,
    *,
    yes: bool,
    dry_run: bool,
    doctor: bool,
    **flags: Any,
) -> None:
    where, voice = split_flags(flags)
    plan, as_json = read_sweep(Path(sweep_file)), voice.pop("as_json")
    if dry_run:
        console.result_json(table.planned_json(plan)) if as_json else console.result(table.planned_text(plan))
        return
    settings = settings_for(where, spec_region=plan.runs[0].spec.aws.region)
    labels = {planned.run_id: table.values_text(planned.values) for planned in plan.runs}
    consent = Consent(spec_file=sweep_file, yes=yes, doctor=doctor, labels=labels)
    with watchers(settings, **voice, several=True) as watching:
        results = anyio.run(partial(_sweep, settings, plan, consent, watching))
    metric = ranked_by(plan.spec.metric, results)
    found = standings(results, metric)
    rows = table.rows(found, metric)
    console.result_json(rows) if as_json else console.result(table.table_text(rows))
    for line in verdict(found, metric):
        console.say(line)
    if moneys := [result.money for result in results if result.money is not None]:
        console.say(together(moneys))
    for result in results:
        if result.error is not None:
            console.say(f"vlm-runner: run {result.planned.run_id}: {result.error}")
    sys.exit(code_of(results))


def code_of(results: list[Result]) -> int:
    """0 if all that were begun succeeded; 104 if anything may bill; 75 if some can be resumed; else 100."""
    begun = [result for result in results if not result.skipped]
    if all(result.succeeded for result in begun):
        return 0
    unfinished = [one for one in begun if one.run is None or not one.run.done]
    if any(one.run is not None and one.run.done and may_bill(one.run) for one in begun):
        return 104
    return 75 if unfinished else 100


async def _sweep(settings: Settings, plan: Sweep, consent: Consent, watching: list[Watcher]) -> list[Result]:
    results: list[Result] = []

    def print_result(result: Result) -> None:
        state = result.run.outcome if result.run is not None else None
        said = "not begun: the runs before it were no better than the best" if result.skipped else state
        say(watching, f"Run {result.planned.run_id}: {said or 'not finished'}.")

    async with Runner.open(settings, watchers=watching) as runner:
        show_money(watching, runner)
        driver = SweepDriver(plan, runner)
        created = await confirm(runner, settings, await driver.prepare(), consent)
        async with anyio.create_task_group() as group:

            async def obey() -> None:
                with anyio.open_signal_receiver(*stop_signals()) as signals:
                    async for _ in signals:
                        say(watching, STOPPING)
                        await runner.stop()
                        group.cancel_scope.cancel()

            group.start_soon(obey)
            results = await driver.drive(created, print_result)
            group.cancel_scope.cancel()
        if not results:
            raise Stopped("The sweep was stopped.", hint="Resume it with the same command.")
    return results
