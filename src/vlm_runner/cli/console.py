"""Results in words; pure but for the echo."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from vlm_runner.redact import printable, redacted
from vlm_runner.report.summary import may_bill

if TYPE_CHECKING:
    from vlm_runner.core.run import Run
    from vlm_runner.models import ModelProfile


def say(text: str) -> None:
    """To the person, on stderr."""
    click.echo(printable(redacted(text)), err=True)


async def confirmed(question: str) -> bool:
    """
    Whether the person at the terminal says yes; anything else is no.

    Waits without a thread and without readline, which would keep Ctrl-C to itself.
    """
    import anyio

    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    await anyio.wait_readable(sys.stdin)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def result(text: str) -> None:
    """The command's one result, on stdout."""
    click.echo(printable(redacted(text)))


def result_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def outcome_text(run: Run, checkpoint: str) -> str:
    """What became of a run, and what there is now."""
    headline = {
        None: f"is in phase {run.phase}",
        "succeeded": "succeeded",
        "failed": "FAILED",
        "cancelled": "was cancelled",
    }[run.outcome.value if run.outcome is not None else None]
    rows: list[tuple[str, str | None]] = [
        ("reason", run.reason),
        ("base model", run.spec.model.base),
        ("custom model", run.model.model_arn if run.model is not None else None),
        ("training loss", _number(run.model.training_loss) if run.model is not None else None),
        ("validation loss", _number(run.model.validation_loss) if run.model is not None else None),
        ("answers", run.tests.uri if run.tests is not None else None),
        ("report", run.report.uri if run.report is not None else None),
        ("checkpoint", checkpoint),
    ]
    lines = [f"Run {run.run_id} {headline}."]
    lines += [f"  {name:<16}{value}" for name, value in rows if value]
    if run.tests is not None and run.tests.first is not None:
        kind = "held-out" if run.tests.held_out else "TRAINING (there were no held-out rows)"
        lines += ["", f"Answer to {kind} row {run.tests.first.row}:", "", _indented(run.tests.first.answer)]
    return "\n".join(lines)


def billing_text(run: Run, profile: ModelProfile | None) -> str | None:
    """What of a run may still cost by the hour, at which price, and how to end it; None: nothing may."""
    items = may_bill(run)
    if not items:
        return None
    lines = ["", "SOMETHING MAY STILL BILL:"]
    for item in items:
        lines += [
            f"  {item['kind']} {item['name']} ({item['arn'] or 'perhaps; its creation was not confirmed'})",
            f"  it costs {_price(run, profile)}",
            f"  delete it with: {item['delete_command']}",
        ]
        if item.get("deletes_itself_at"):
            lines.append(f"  its dead man's switch deletes it at {item['deletes_itself_at']}")
    return "\n".join(lines)


def _price(run: Run, profile: ModelProfile | None) -> str:
    from vlm_runner.report.money import hourly

    if run.serving_intent is not None and run.serving_intent.mode != "provisioned":
        return "nothing by the hour, but its calls and the model's storage"
    price = hourly(run, profile)
    return (
        "by the hour, at a price that the catalogue does not know"
        if price is None
        else f"${price:,.2f} an hour"
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
