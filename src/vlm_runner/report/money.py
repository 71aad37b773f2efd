"""What a run has cost so far, as far as the catalogue knows prices; pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, SupportsFloat

from vlm_runner.core.timeline import spelled
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.core.events import Entry, PlannedCost
    from vlm_runner.core.run import Run
    from vlm_runner.json_output import ModelScoresJson, MoneyJson, MoneyLineJson
    from vlm_runner.models import ModelProfile

TRAINING_NOTE = "Bedrock bills the tokens of all records times the epochs; it does not report the number"


def money(
    run: Run,
    history: Sequence[Entry],
    profile: ModelProfile | None,
    now: datetime,
    models: Mapping[str, ModelScoresJson] | None = None,
) -> MoneyJson:
    """
    What was spent on what, and the sum of what is known. `models` are those of an `Evaluation`.
    """
    lines = _lines(run, history, profile, now, models or {})
    known = [line["usd"] for line in lines if line["usd"] is not None]
    source = None if profile is None else _sources(profile)
    planned = run.created.planned
    return {
        "lines": lines,
        "known_usd": round(sum(known), 4),
        "complete": len(known) == len(lines),
        "per_hour_usd": hourly(run, profile),
        "storage_per_month_usd": _float(profile.storage_price()) if profile and run.own_model else None,
        "prices_from": source,
        "planned_usd": None if planned is None else planned.expected,
        "planned_at_most_usd": None if planned is None else planned.worst,
    }


def _sources(profile: ModelProfile) -> str:
    named = ("training_per_million_tokens", "custom_input_per_million_tokens", "throughput_per_unit_hour")
    found = [
        profile.prices.source_of(name) for name in named if getattr(profile.prices, name) is not None
    ] or [profile.prices]
    return "; ".join(dict.fromkeys(f"{each.source} ({each.date})" for each in found))


def hourly(run: Run, profile: ModelProfile | None) -> float | None:
    """US dollars an hour of what bills now by the hour; None: nothing does, or its price is not known."""
    if not run.may_bill or profile is None or not _provisioned(run):
        return None
    return _float(profile.throughput_price(run.spec.serving.model_units))


def rented_for(history: Sequence[Entry], now: datetime) -> timedelta | None:
    """From the throughput's or deployment's creation to its deletion, or to `now`."""
    began = _at(history, "serving_requested") or _at(history, "serving_intended")
    if began is None:
        return None
    return max(timedelta(0), (_at(history, "released") or now) - began)


def _lines(
    run: Run,
    history: Sequence[Entry],
    profile: ModelProfile | None,
    now: datetime,
    models: Mapping[str, ModelScoresJson],
) -> list[MoneyLineJson]:
    lines: list[MoneyLineJson] = []
    if run.job is not None:
        lines.append(_training(run, profile))
    rented = rented_for(history, now) if run.serving is not None else None
    if rented is not None and _provisioned(run):
        units = run.spec.serving.model_units
        price = _float(profile.throughput_price(units)) if profile else None
        hours = rented.total_seconds() / 3600
        lines.append(
            {
                "item": "Provisioned throughput",
                "detail": f"{units} model unit{'s' * (units > 1)} for {spell(rented)}",
                "usd": None if price is None else round(price * hours, 4),
                "note": "price not in the catalogue" if price is None else f"${price:,.2f} an hour",
            }
        )
    for who, name in (("tuned", "Calls of the tuned model"), ("base", "Calls of the base model")):
        table = models.get(who)
        if table is None or (who == "tuned" and _provisioned(run)):
            continue
        tokens = f"{table['input_tokens']:,} tokens in, {table['output_tokens']:,} out"
        lines.append({"item": name, "detail": tokens, "usd": table["cost_usd"], "note": "by the token"})
    return lines


def _training(run: Run, profile: ModelProfile | None) -> MoneyLineJson:
    price = None if profile is None else _float(profile.prices.training_per_million_tokens)
    budget, planned = run.created.budget, run.created.planned
    estimate = None if budget is None else budget.training
    if planned is not None:
        estimate = planned.training
    note = TRAINING_NOTE if price is None else f"{TRAINING_NOTE}; ${price:,.2f} a million"
    epochs = run.spec.training.hyperparameters.get("epochCount")
    records = run.records.train_records if run.records is not None else 0
    return {
        "item": "Training",
        "detail": f"{records:,} records" + (f", {epochs} epochs" if epochs else ""),
        "usd": estimate,
        "note": note if estimate is None else _estimated(planned),
    }


def _estimated(planned: PlannedCost | None) -> str:
    if planned is None:
        return "estimated before the start"
    return f"estimated before the start: {planned.tokens_trained:,} tokens, which Bedrock does not report"


def _provisioned(run: Run) -> bool:
    return run.spec.serving.mode is ServingMode.PROVISIONED


def _at(history: Sequence[Entry], kind: str) -> datetime | None:
    return next((entry.at for entry in reversed(history) if entry.event.kind == kind), None)


def _float(value: SupportsFloat | None) -> float | None:
    return None if value is None else float(value)


def spell(span: timedelta) -> str:
    """`1 h 05 min`, `3 min 10 s`, `4.2 s`."""
    return spelled(span.total_seconds(), precise=True)
