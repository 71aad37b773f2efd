"""list: the runs of a store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.billing import dollars
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_view import CheckpointView, state_of
from vlm_runner.errors import CheckpointError, RunNotFound
from vlm_runner.prices import priced_catalogue
from vlm_runner.report.money import money, spell
from vlm_runner.report.summary import may_bill
from vlm_runner.stores import opened_store

if TYPE_CHECKING:
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.json_output import RunRowJson
    from vlm_runner.models import Catalogue
    from vlm_runner.settings import Settings


@click.command("list")
@json_option
@where_options
def list_runs(*, as_json: bool, **flags: Any) -> None:
    """List the runs of a store: state, phase, cost, what may bill.

    \b
    Example:
        vlm-runner list --store s3://my-bucket/vlm-runner
    """
    settings = settings_for(Where(**flags))
    rows = anyio.run(_all, settings)
    if as_json:
        console.result_json(rows)
        return
    if not rows:
        console.say("No runs yet. Start one with: vlm-runner start run.toml")
        return
    width = max(len(row["run_id"]) for row in rows)
    origins = max((len(row.get("from_run") or "") for row in rows), default=0)
    origin = max(4, origins) + 2 if origins else 0
    head = f"{'RUN':<{width}}  {'FROM' if origin else '':<{origin}}"
    console.result(f"{head}{'STATE':<10} {'PHASE':<11} {'CHANGED':<17} {'COST':<12} BILLS")
    for row in rows:
        console.result(
            f"{row['run_id']:<{width}}  {row.get('from_run') or '':<{origin}}"
            f"{row['state']:<10} {row['phase']:<11} "
            f"{_ago(row['updated_at']):<17} {_cost(row):<12} {_bills(row)}".rstrip()
        )


def _ago(when: str) -> str:
    return f"{spell(datetime.now(UTC) - datetime.fromisoformat(when))} ago" if when else ""


def _cost(row: RunRowJson) -> str:
    """What is known of it; a plus where some of it has no known price."""
    cost = row.get("cost_usd")
    if cost is None or (cost < 0.01 and not row["cost_complete"]):
        return "unknown" if cost is not None else ""
    return f"{dollars(cost)}{'' if row['cost_complete'] else ' + ?'}"


def _bills(row: RunRowJson) -> str:
    if not row["may_bill"]:
        return ""
    price = row["per_hour_usd"]
    kinds = ", ".join(f"{item['kind']} {item['name']}" for item in row["may_bill"])
    return f"{kinds}: {'price unknown' if price is None else f'{dollars(price)} an hour'}"


async def _all(settings: Settings) -> list[RunRowJson]:
    async with opened_store(settings) as store:
        catalogue = priced_catalogue(settings)
        found = [await _row(store, run_id, settings, catalogue) for run_id in await store.run_ids()]
        return [row for row in found if row is not None]


async def _row(
    store: CheckpointStore, run_id: str, settings: Settings, catalogue: Catalogue
) -> RunRowJson | None:
    """
    One run's line; None if it was deleted meanwhile.

    A checkpoint that cannot be read is shown as such, and hides no other run.
    """
    try:
        checkpoint, _ = await lease.load(store, run_id)
    except RunNotFound:
        return None
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
    lineage = run.created.parent or run.created.serves
    profile = catalogue.known(run.spec.model.base)
    cost = money(run, checkpoint.history, profile, datetime.now(UTC))
    return {
        "run_id": run_id,
        "state": state_of(CheckpointView.of(checkpoint), settings.lease.takeover_after),
        "phase": run.phase.value,
        "created_at": run.created_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
        "base_model": run.spec.model.base,
        "from_run": lineage.run_id if lineage is not None else None,
        "may_bill": may_bill(run),
        "cost_usd": cost["known_usd"],
        "cost_complete": cost["complete"],
        "per_hour_usd": cost["per_hour_usd"],
    }
