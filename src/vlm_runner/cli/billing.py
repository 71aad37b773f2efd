"""What of a run may still cost money, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.prices import priced_catalogue
from vlm_runner.report.money import hourly
from vlm_runner.report.summary import may_bill

if TYPE_CHECKING:
    from vlm_runner.core.run import Run
    from vlm_runner.models import ModelProfile
    from vlm_runner.settings import Settings


def known_profile(run: Run, settings: Settings) -> ModelProfile | None:
    """None for a model that the catalogue does not have, or no longer has."""
    return priced_catalogue(settings).known(run.spec.model.base)


def billing_text(run: Run, settings: Settings) -> str | None:
    """What may still bill by the hour, at which price, and how to delete it; None if nothing may."""
    items = may_bill(run)
    if not items:
        return None
    lines = ["", "SOMETHING MAY STILL BILL:"]
    for item in items:
        lines += [
            f"  {item['kind']} {item['name']} ({item['arn'] or 'perhaps; its creation was not confirmed'})",
            f"  it costs {_price(run, known_profile(run, settings))}",
            f"  delete it with: {item['delete_command']}",
        ]
        if item.get("deletes_itself_at"):
            lines.append(f"  its dead man's switch deletes it at {item['deletes_itself_at']}")
    return "\n".join(lines)


def _price(run: Run, profile: ModelProfile | None) -> str:
    if run.serving_intent is not None and run.serving_intent.mode != "provisioned":
        return "nothing by the hour, but its calls and the model's storage"
    price = hourly(run, profile)
    if price is None:
        return "by the hour, at a price that is not in the catalogue"
    return f"${price:,.2f} an hour"
