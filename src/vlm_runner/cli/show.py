"""status, list, events: reading, and nothing else."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from vlm_runner.cli.options import Where, json_option, settings_for, where_options
from vlm_runner.cli.prices import known_profile

if TYPE_CHECKING:
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.core.events import Entry
    from vlm_runner.json_output import RunRowJson, RunStatusJson
    from vlm_runner.settings import Settings


@click.command()
@click.argument("run_id", metavar="RUN")
@json_option
@where_options
def status(run_id: str, *, as_json: bool, **flags: Any) -> None:
    """Show where RUN stands. Exits as the run did, or with 101 while it is not done.

    \b
    Example:
        vlm-runner status for-vlm-accessibility-3f2a9c01 --json
    """
    from vlm_runner.cli import console, glance
    from vlm_runner.cli.exit_codes import run_exit_code
    from vlm_runner.report.summary import summary

    root = None if as_json else glance.local_root(flags["store"])
    checkpoint, where = _load(run_id, flags) if root is None else glance.read(root, run_id)
    run = checkpoint.run

    def takeover_after() -> float:
        return settings_for(Where(**flags)).lease.takeover_after

    if as_json:
        shown: RunStatusJson = {
            **summary(run, checkpoint.history),
            "state": glance.state_of(checkpoint, takeover_after),
            "checkpoint": where,
        }
        console.result_json(shown)
    else:
        console.result(console.outcome_text(run, where))
        console.result(f"  {'state':<16}{glance.state_of(checkpoint, takeover_after)}")
        if run.may_bill:
            profile = known_profile(run.spec.model.base, settings_for(Where(**flags)))
            console.say(console.billing_text(run, profile) or "")
    sys.exit(run_exit_code(run))


@click.command("list")
@json_option
@where_options
def list_runs(*, as_json: bool, **flags: Any) -> None:
    """Show all runs of a store: state, phase, and whether they may bill.

    \b
    Example:
        vlm-runner list --store s3://my-bucket/vlm-runner
    """
    import anyio

    from vlm_runner.cli import console

    settings = settings_for(Where(**flags))
    rows = anyio.run(_all, settings)
    if as_json:
        console.result_json(rows)
        return
    if not rows:
        console.say("No runs here yet. Start one with: vlm-runner start run.toml")
        return
    width = max(len(row["run_id"]) for row in rows)
    console.result(f"{'RUN':<{width}}  {'STATE':<10} {'PHASE':<11} {'CHANGED':<17} {'COST':<12} BILLS")
    for row in rows:
        console.result(
            f"{row['run_id']:<{width}}  {row['state']:<10} {row['phase']:<11} "
            f"{_ago(row['updated_at']):<17} {_cost(row):<12} {_bills(row)}".rstrip()
        )


def _ago(when: str) -> str:
    from datetime import UTC, datetime

    from vlm_runner.report.money import spell

    return f"{spell(datetime.now(UTC) - datetime.fromisoformat(when))} ago" if when else ""


def _cost(row: RunRowJson) -> str:
    """What is known of it; a plus where some of it has no known price."""
    cost = row.get("cost_usd")
    if cost is None or (cost < 0.01 and not row["cost_complete"]):
        return "unknown" if cost is not None else ""
    return f"${cost:,.2f}{'' if row['cost_complete'] else ' + ?'}"


def _bills(row: RunRowJson) -> str:
    if not row["may_bill"]:
        return ""
    price = row["per_hour_usd"]
    kinds = ", ".join(f"{item['kind']} {item['name']}" for item in row["may_bill"])
    return f"{kinds}: {'price unknown' if price is None else f'${price:,.2f} an hour'}"


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is done.")
@click.option("--after", metavar="N", type=int, default=0, help="Only what came after event N.")
@where_options
def events(run_id: str, *, follow: bool, after: int, **flags: Any) -> None:
    """Print RUN's history as JSON lines, one an event; each carries its number, to go on from.

    \b
    Example:
        vlm-runner events for-vlm-accessibility-3f2a9c01 -f --after 7
    """
    import anyio

    from vlm_runner.cli import console

    told = _Told(after)
    try:
        anyio.run(partial(_print_events, settings_for(Where(**flags)), run_id, told, follow=follow))
    except KeyboardInterrupt:
        store = f" --store {flags['store']}" if flags["store"] else ""
        console.say(
            "Stopped looking; the run goes on. "
            f"Come back with: vlm-runner events {run_id} -f --after {told.sequence}{store}"
        )
        sys.exit(130)


def _load(run_id: str, flags: dict[str, Any]) -> tuple[Checkpoint, str]:
    import anyio

    async def load() -> tuple[Checkpoint, str]:
        from vlm_runner.checkpoint import lease
        from vlm_runner.stores import opened_store

        async with opened_store(settings_for(Where(**flags))) as store:
            checkpoint, _ = await lease.load(store, run_id)
            return checkpoint, store.locate(run_id)

    return anyio.run(load)


async def _all(settings: Settings) -> list[RunRowJson]:
    from vlm_runner.stores import opened_store

    async with opened_store(settings) as store:
        return [await _row(store, run_id, settings) for run_id in await store.run_ids()]


async def _row(store: CheckpointStore, run_id: str, settings: Settings) -> RunRowJson:
    """One run's line; a checkpoint that cannot be read is shown as such, and hides no other run."""
    from datetime import UTC, datetime

    from vlm_runner.checkpoint import lease
    from vlm_runner.cli.glance import state_of
    from vlm_runner.errors import CheckpointError
    from vlm_runner.report.money import money
    from vlm_runner.report.summary import may_bill

    try:
        checkpoint, _ = await lease.load(store, run_id)
    except CheckpointError as error:
        return {
            "run_id": run_id,
            "state": "UNREADABLE",
            "phase": "?",
            "updated_at": "",
            "may_bill": [],
            "error": str(error),
        }
    run = checkpoint.run
    cost = money(run, checkpoint.history, known_profile(run.spec.model.base, settings), datetime.now(UTC))
    return {
        "run_id": run_id,
        "state": state_of(checkpoint, lambda: settings.lease.takeover_after),
        "phase": run.phase.value,
        "created_at": run.created_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
        "base_model": run.spec.model.base,
        "may_bill": may_bill(run),
        "cost_usd": cost["known_usd"],
        "cost_complete": cost["complete"],
        "per_hour_usd": cost["per_hour_usd"],
    }


async def _print_events(settings: Settings, run_id: str, told: _Told, *, follow: bool) -> None:
    from vlm_runner.checkpoint import lease
    from vlm_runner.clock import SystemClock
    from vlm_runner.stores import opened_store
    from vlm_runner.watch.follow import entries

    async with opened_store(settings) as store:
        if follow:
            async for entry in entries(store, run_id, clock=SystemClock(), after=told.sequence):
                told.tell(entry)
        else:
            checkpoint, _ = await lease.load(store, run_id)
            for entry in checkpoint.history:
                told.tell(entry)


class _Told:
    """How far somebody has read: the place to go on from."""

    def __init__(self, after: int) -> None:
        self.sequence = after

    def tell(self, entry: Entry) -> None:
        if entry.sequence > self.sequence:
            click.echo(entry.model_dump_json())
            self.sequence = entry.sequence
