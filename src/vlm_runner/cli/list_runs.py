"""list: the runs of a store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_view import CheckpointView, state_of
from vlm_runner.core.timeline import spelled
from vlm_runner.dollars import cell, dollars
from vlm_runner.errors import CheckpointError, RunNotFound
from vlm_runner.prices import priced_catalogue
from vlm_runner.report.money import money, together
from vlm_runner.report.summary import may_bill
from vlm_runner.stores import opened_store

if TYPE_CHECKING:
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.json_output import MoneyJson, RunRowJson
    from vlm_runner.models import Catalogue
    from vlm_runner.settings import Settings


@click.command("list")
@json_option
@where_options
def list_runs(*, as_json: bool, **flags: Any) -> None:
    """List the runs of a store: state, phase, cost, what may bill.

    Below them: what all of them have cost, and what is left of them costs each month.

    \b
    Example:
        vlm-runner list --store s3://my-bucket/vlm-runner
    """
    settings = settings_for(Where(**flags))
    found = anyio.run(_all, settings)
    rows = [row for row, _ in found]
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
    costs = [_cost(row) for row in rows]
    wide = max(4, *map(len, costs))
    bills = "BILLS" if any(row["may_bill"] for row in rows) else ""
    console.result(f"{head}{'STATE':<10} {'PHASE':<11} {'CHANGED':<17} {'COST':<{wide}}  {bills}".rstrip())
    for row, cost in zip(rows, costs, strict=True):
        console.result(
            f"{row['run_id']:<{width}}  {row.get('from_run') or '':<{origin}}"
            f"{row['state']:<10} {row['phase']:<11} "
            f"{_ago(row['updated_at']):<17} {cost:<{wide}}  {_bills(row)}".rstrip()
        )
    if moneys := [money for _, money in found if money is not None]:
        console.say(together(moneys))


def _ago(when: str) -> str:
    if not when:
        return ""
    return f"{spelled((datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds())} ago"


def _cost(row: RunRowJson) -> str:
    if "cost_usd" not in row:
        return ""
    return cell(row["cost_usd"], complete=row["cost_complete"], estimated=row["cost_about"])


def _bills(row: RunRowJson) -> str:
    if not row["may_bill"]:
        return ""
    kinds = ", ".join(f"{item['kind']} {item['name']}" for item in row["may_bill"])
    if all(item["kind"] == "custom model deployment" for item in row["may_bill"]):
        return f"{kinds}: by the token"
    price = row["per_hour_usd"]
    return f"{kinds}: {'price unknown' if price is None else f'{dollars(price)} an hour'}"


async def _all(settings: Settings) -> list[tuple[RunRowJson, MoneyJson | None]]:
    async with opened_store(settings) as store:
        catalogue = priced_catalogue(settings)
        found = [await _row(store, run_id, settings, catalogue) for run_id in await store.run_ids()]
        return [row for row in found if row is not None]


async def _row(
    store: CheckpointStore, run_id: str, settings: Settings, catalogue: Catalogue
) -> tuple[RunRowJson, MoneyJson | None] | None:
    """
    One run's line; None if it was deleted meanwhile.

    A checkpoint that cannot be read is shown as such, and hides no other run.
    """
    try:
        checkpoint, _ = await lease.load(store, run_id)
    except RunNotFound:
        return None
    except CheckpointError as error:
        unreadable: RunRowJson = {
            "run_id": run_id,
            "state": "UNREADABLE",
            "phase": "?",
            "updated_at": "",
            "may_bill": [],
            "error": str(error),
        }
        return unreadable, None
    run = checkpoint.run
    lineage = run.created.parent or run.created.serves
    profile = catalogue.known(run.spec.model.base)
    cost = money(run, checkpoint.history, profile, datetime.now(UTC))
    row: RunRowJson = {
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
        "cost_about": cost["about"],
        "per_hour_usd": cost["per_hour_usd"],
        "per_month_usd": cost["per_month_usd"],
    }
    return row, cost
