"""The state of a run from its whole checkpoint: as JSON, from any store, with prices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.billing import billing_text, known_profile
from vlm_runner.cli.exit_codes import run_exit_code
from vlm_runner.cli.past_runs import usual_times
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_text import Reach, status_lines
from vlm_runner.cli.run_view import CheckpointView, state_of
from vlm_runner.dollars import spent_and_left
from vlm_runner.report.money import money
from vlm_runner.report.summary import summary
from vlm_runner.stores import opened_store

if TYPE_CHECKING:
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.cli.options import Where
    from vlm_runner.json_output import RunStatusJson
    from vlm_runner.settings import Settings


def show_full_status(run_id: str, where: Where, *, as_json: bool) -> int:
    """Print it, and return the exit code."""
    settings = settings_for(where)
    checkpoint, location = anyio.run(_load, settings, run_id)
    run, seen = checkpoint.run, CheckpointView.of(checkpoint)
    state = state_of(seen, settings.lease.takeover_after)
    now = datetime.now(UTC)
    cost = money(run, checkpoint.history, known_profile(run, settings), now)
    if as_json:
        shown: RunStatusJson = {
            **summary(run, checkpoint.history),
            "state": state,
            "checkpoint": location,
            "halted": seen.halted,
            "money": cost,
        }
        console.result_json(shown)
    else:
        reach = Reach(where.repeated(settings))
        usual = usual_times(seen.run, settings.checkpoint_uri)
        bills = billing_text(run, settings, reach, driven=state == "RUNNING")
        so_far = None
        if cost["lines"] and not run.done:
            known, month = cost["known_usd"], cost["per_month_usd"]
            so_far = spent_and_left(known, month, complete=cost["complete"], estimated=cost["about"])
        console.show(
            status_lines(seen, location, state, now, reach=reach, usual=usual, bills=bills, cost=so_far)
        )
    return run_exit_code(seen.run)


async def _load(settings: Settings, run_id: str) -> tuple[Checkpoint, str]:
    async with opened_store(settings) as store:
        checkpoint, _ = await lease.load(store, run_id)
        return checkpoint, store.locate(run_id)
