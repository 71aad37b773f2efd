"""What of a run may still cost money, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.dollars import about, dollars, spent
from vlm_runner.prices import priced_catalogue
from vlm_runner.report.money import hourly, money
from vlm_runner.report.summary import may_bill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vlm_runner.cli.run_text import Reach
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.models import ModelProfile
    from vlm_runner.settings import Settings


def known_profile(run: Run, settings: Settings) -> ModelProfile | None:
    """None for a model that the catalogue does not have, or no longer has."""
    return priced_catalogue(settings).known(run.spec.model.base)


def billing_text(run: Run, settings: Settings, reach: Reach, *, driven: bool = False) -> str | None:
    """
    What bills, or may, at which price, and what ends that; None if nothing may.

    `driven`: a process drives the run and will release it, so that there is nothing to do.
    """
    items = may_bill(run)
    if not items:
        return None
    price = _price(run, known_profile(run, settings))
    if driven:
        return "\n".join(
            f"Billing: {item['kind']} {item['name']}, {price}; the run deletes it." for item in items
        )
    by_hour = run.serving_intent is not None and run.serving_intent.mode == "provisioned"
    if run.handed_over is not None:
        head = "THE ENDPOINT IS KEPT, AND BILLS:" if by_hour else "The deployment is kept:"
    else:
        head = "SOMETHING MAY STILL BILL:" if by_hour else "A deployment may still be there:"
    lines = ["", head]
    for item in items:
        lines += [
            f"  {item['kind']} {item['name']} ({item['arn'] or 'perhaps; its creation was not confirmed'})",
            f"  it costs {price}",
        ]
        if run.handed_over is not None:
            give_back = reach.command("release", run.run_id)
            lines += [f"  delete it with: {give_back}", f"  or at AWS: {item['delete_command']}"]
        elif run.done:
            lines.append(f"  delete it with: {item['delete_command']}")
        else:
            resume = reach.command("resume", run.run_id)
            lines.append(f"  {resume} deletes it in the end; at once: {item['delete_command']}")
        if item.get("deletes_itself_at"):
            lines.append(f"  its dead man's switch deletes it at {item['deletes_itself_at']}")
    return "\n".join(lines)


def _price(run: Run, profile: ModelProfile | None) -> str:
    if run.serving_intent is not None and run.serving_intent.mode != "provisioned":
        return "nothing by the hour, only for its calls, by the token"
    price = hourly(run, profile)
    if price is None:
        return "by the hour, at a price that is not in the catalogue"
    return f"{dollars(price)} an hour"


def cost_line(run: Run, history: Sequence[Entry], settings: Settings, now: datetime) -> str:
    """What the run has cost, with its parts, as far as prices are known."""
    cost = money(run, history, known_profile(run, settings), now)
    if not cost["lines"] and run.serving is not None:
        return "its calls only, by the token: the report adds them up"
    if not cost["lines"]:
        return "nothing: no job was created, and nothing was rented"
    parts = [
        f"{line['item'].lower()} {about(dollars(line['usd']), estimated=line['about'])}"
        for line in cost["lines"]
    ]
    whole = spent(cost["known_usd"], complete=cost["complete"], estimated=cost["about"])
    return f"{whole} ({', '.join(parts)})"


def remains_line(run: Run, settings: Settings) -> str:
    """What is left at AWS that costs, in one line."""
    profile = known_profile(run, settings)
    parts = [f"{item['kind']} {item['name']}: {_price(run, profile)}" for item in may_bill(run)]
    if run.own_model is not None:
        price = profile.storage_price() if profile is not None else None
        month = (
            "a monthly price that is not in the catalogue" if price is None else f"{dollars(price)} a month"
        )
        parts.append(f"the custom model, for {month}")
    if not may_bill(run):
        parts.append("nothing bills by the hour")
    return "; ".join(parts)
