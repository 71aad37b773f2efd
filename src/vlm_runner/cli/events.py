"""events: a run's history."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.options import Where, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.clock import SystemClock
from vlm_runner.redact import json_text
from vlm_runner.stores import opened_store
from vlm_runner.watch.cloudevents import without_secrets
from vlm_runner.watch.follow import entries

if TYPE_CHECKING:
    from vlm_runner.core.events import Entry
    from vlm_runner.settings import Settings


@click.command()
@run_argument()
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events until the run is done.")
@click.option("--after", metavar="N", type=int, default=0, help="Only events after number N.")
@where_options
def events(run_id: str, *, follow: bool, after: int, **flags: Any) -> None:
    """Print RUN's history as JSON lines, one event a line.

    Each event has a number; --after N continues after it.

    \b
    Example:
        vlm-runner events for-vlm-accessibility-3f2a9c01 -f --after 7
    """
    where, position = Where(**flags), _Position(after)
    settings = settings_for(where)
    try:
        anyio.run(partial(_print_events, settings, run_id, position, follow=follow))
    except KeyboardInterrupt:
        words = ["vlm-runner", "events", run_id, "-f", "--after", str(position.sequence)]
        again = shlex.join([*words, *where.repeated(settings)])
        console.say(f"Stopped watching; the run continues. Continue with: {again}")
        sys.exit(130)


async def _print_events(settings: Settings, run_id: str, position: _Position, *, follow: bool) -> None:
    async with opened_store(settings) as store:
        if follow:
            async for entry in entries(store, run_id, clock=SystemClock(), after=position.sequence):
                position.show(entry)
        else:
            checkpoint, _ = await lease.load(store, run_id)
            for entry in checkpoint.history:
                position.show(entry)


class _Position:
    """The number of the last event that was printed."""

    def __init__(self, after: int) -> None:
        self.sequence = after

    def show(self, entry: Entry) -> None:
        if entry.sequence > self.sequence:
            click.echo(json_text(without_secrets(entry)))
            self.sequence = entry.sequence
