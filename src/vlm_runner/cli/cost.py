"""cost: what AWS billed for a run, beside what was estimated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import click

from vlm_runner.aws.session import AwsSession
from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.billing import known_profile
from vlm_runner.cli.options import Where, json_option, where_options, yes_option
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.core.names import TAG_UID
from vlm_runner.dollars import dollars
from vlm_runner.errors import UsageError
from vlm_runner.report.money import money
from vlm_runner.stores import opened_store

if TYPE_CHECKING:
    from decimal import Decimal

    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.json_output import BilledJson
    from vlm_runner.settings import Settings

ACTIVATE: Final = (
    "aws ce update-cost-allocation-tags-status --cost-allocation-tags-status "
    f"TagKey={TAG_UID},Status=Active --region us-east-1"
)


@click.command()
@run_argument()
@yes_option
@json_option
@where_options
def cost(run_id: str, *, yes: bool, as_json: bool, **flags: Any) -> None:
    """Show what AWS billed for RUN; each query costs one cent.

    It is found by the run's tag. Needs ce:GetCostAndUsage (vlm-runner iam SPEC --only cost_policy), and the
    tag vlm-runner:run-uid activated for cost allocation. Bills appear about a day late, and leave out
    what has no tags.

    \b
    Example:
        vlm-runner cost for-vlm-accessibility-3f2a9c01
    """
    settings = settings_for(Where(**flags), ask_profile=True)
    checkpoint = anyio.run(_loaded, settings, run_id)
    if not yes:
        _confirm()
    billed = anyio.run(partial(_billed, settings, checkpoint))
    shown = _shown(checkpoint, settings, billed)
    console.result_json(shown) if as_json else console.result(_text(shown))
    if not billed:
        console.say(f"vlm-runner: nothing is billed under its tag yet. If the tag is not active: {ACTIVATE}")


def _confirm() -> None:
    if not console.at_terminal():
        raise console.unattended("AWS charges one cent for this", "Confirm with: --yes.")
    if not click.confirm("AWS charges one cent to look. Look?", err=True):
        raise UsageError("Nothing was asked.")


async def _loaded(settings: Settings, run_id: str) -> Checkpoint:
    async with opened_store(settings) as store:
        checkpoint, _ = await lease.load(store, run_id)
        return checkpoint


async def _billed(settings: Settings, checkpoint: Checkpoint) -> dict[str, Decimal]:
    run = checkpoint.run
    async with AwsSession(
        region=run.region, profile=settings.profile, endpoint_url=settings.endpoint_url
    ) as session:
        # The end is exclusive, and must not lie further on than tomorrow.
        until = datetime.now(UTC).date() + timedelta(days=1)
        return await session.cost_explorer().billed(TAG_UID, run.uid, run.created_at.date(), until)


def _shown(checkpoint: Checkpoint, settings: Settings, billed: dict[str, Decimal]) -> BilledJson:
    run = checkpoint.run
    estimate = money(run, checkpoint.history, known_profile(run, settings), datetime.now(UTC))
    return {
        "run_id": run.run_id,
        "currency": "USD",
        "lines": [{"usage_type": name, "usd": float(usd)} for name, usd in sorted(billed.items())],
        "billed_usd": float(sum(billed.values())) if billed else None,
        "estimated_usd": estimate["known_usd"],
        "planned_usd": estimate["planned_usd"],
    }


def _text(shown: BilledJson) -> str:
    wide = max((len(line["usage_type"]) for line in shown["lines"]), default=0)
    lines = [f"  {line['usage_type']:<{wide}}  ${line['usd']:>9,.2f}" for line in shown["lines"]]
    total = "nothing yet" if shown["billed_usd"] is None else dollars(shown["billed_usd"])
    lines += [f"Billed: {total}", f"Estimated so far: {dollars(shown['estimated_usd'])}"]
    if shown["planned_usd"] is not None:
        lines.append(f"Planned: {dollars(shown['planned_usd'])}")
    return "\n".join(lines)
