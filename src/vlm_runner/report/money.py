"""What a run has cost so far, as far as the catalogue knows prices; pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, SupportsFloat

from vlm_runner.core.timeline import spelled
from vlm_runner.dollars import MONTH_HOURS, dollars, spent
from vlm_runner.models.profile import BASE_TOKENS, CUSTOM_TOKENS
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vlm_runner.core.events import Entry, PlannedCost, TestsAnswered
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import TestAnswered
    from vlm_runner.json_output import ModelScoresJson, MoneyJson, MoneyLineJson
    from vlm_runner.models import ModelProfile

CALLS: Final = (
    ("tuned", "Calls of the tuned model", CUSTOM_TOKENS),
    ("base", "Calls of the base model", BASE_TOKENS),
)

TRAINING_NOTE = "Bedrock bills the tokens of all records times the epochs; it does not report the number"


def money(  # noqa: PLR0917 - what a run has, what it costs, and how far it is
    run: Run,
    history: Sequence[Entry],
    profile: ModelProfile | None,
    now: datetime,
    models: Mapping[str, ModelScoresJson] | None = None,
    asked: TestAnswered | None = None,
) -> MoneyJson:
    """
    What was spent on what, and the sum of what is known.

    `models` are those of an `Evaluation`: runs of older versions did not record the base model's tokens.
    `asked` is how far the test calls are, while they are made.
    """
    lines = _lines(run, history, profile, now, models or {}, run.tests or asked)
    known = [line["usd"] for line in lines if line["usd"] is not None]
    source = None if profile is None else _sources(profile)
    planned = run.created.planned
    return {
        "lines": lines,
        "known_usd": round(sum(known), 4),
        "complete": len(known) == len(lines),
        "about": any(line["about"] for line in lines),
        "per_hour_usd": hourly(run, profile),
        "storage_per_month_usd": _storage(run, profile),
        "per_month_usd": _monthly(run, profile),
        "prices_from": source,
        "planned_usd": None if planned is None else planned.expected,
        "planned_at_most_usd": None if planned is None else planned.worst,
    }


def _storage(run: Run, profile: ModelProfile | None) -> float | None:
    return _float(profile.storage_price()) if profile is not None and run.own_model is not None else None


def _monthly(run: Run, profile: ModelProfile | None) -> float | None:
    """US dollars a month of all that goes on to bill, if nobody deletes it; None: a price is not known."""
    storage = _storage(run, profile) if run.own_model is not None else 0.0
    per_hour = hourly(run, profile) if run.may_bill and _provisioned(run) else 0.0
    if storage is None or per_hour is None:
        return None
    return round(storage + per_hour * MONTH_HOURS, 4)


def together(moneys: Iterable[MoneyJson]) -> str:
    """What several runs have cost, and go on to cost, in two sentences."""
    found = [*moneys]
    complete, estimated = all(one["complete"] for one in found), any(one["about"] for one in found)
    whole = spent(sum(one["known_usd"] for one in found), complete=complete, estimated=estimated)
    monthly = [one["per_month_usd"] for one in found]
    known = sum(month for month in monthly if month is not None)
    runs, what = ("1 run has", "it leaves") if len(found) == 1 else (f"{len(found)} runs have", "they leave")
    if not known and None not in monthly:
        return f"{runs} cost {whole}. Nothing goes on to cost."
    month = spent(known, complete=None not in monthly, estimated=False)
    per_hour = sum(one["per_hour_usd"] or 0.0 for one in found)
    rent = f", with {dollars(per_hour)} an hour for endpoints" if per_hour else ""
    return f"{runs} cost {whole}. What {what} costs {month} a month until it is deleted{rent}."


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


def _lines(  # noqa: PLR0917 - as `money`
    run: Run,
    history: Sequence[Entry],
    profile: ModelProfile | None,
    now: datetime,
    models: Mapping[str, ModelScoresJson],
    asked: TestsAnswered | TestAnswered | None,
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
                "about": True,
                "note": "price not in the catalogue" if price is None else f"${price:,.2f} an hour",
            }
        )
    for who, name, prices in CALLS:
        counted = _tokens(who, models, asked)
        if counted is None or (who == "tuned" and _provisioned(run)):
            continue
        cost = None
        if profile is not None:
            cost = (profile.custom_call_cost if who == "tuned" else profile.call_cost)(*counted)
        lines.append(
            {
                "item": name,
                "detail": f"{counted[0]:,} tokens in, {counted[1]:,} out",
                "usd": _float(cost),
                "about": profile is not None and profile.prices.single_sourced(*prices),
                "note": "by the token",
            }
        )
    return lines


def _tokens(
    who: str, models: Mapping[str, ModelScoresJson], asked: TestsAnswered | TestAnswered | None
) -> tuple[int, int] | None:
    """In and out, as AWS reported them; None where none were."""
    if (table := models.get(who)) is not None:
        return table["input_tokens"], table["output_tokens"]
    if asked is None:
        return None
    tuned = asked.input_tokens, asked.output_tokens
    counted = tuned if who == "tuned" else (asked.base_input_tokens, asked.base_output_tokens)
    return counted if any(counted) else None


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
        "about": True,
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
