"""The bill, one entry for each resource that costs money: `GET /_sandbox/ledger`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from vlm_runner.sandbox.catalogue import FoundationModel, Prices
from vlm_runner.sandbox.prices import PriceList

Kind = Literal[
    "customization_job",
    "custom_model",
    "provisioned_throughput",
    "custom_model_deployment",
    "on_demand_invocations",
]
Started = Literal["minute", "hour"] | None
"""What of a throughput's time is billed whole once it is begun; None: it is billed by its exact time."""
_STEPS: dict[Started, float] = {"minute": 1 / 60, "hour": 1.0}
_DAYS_PER_MONTH = 30


@dataclass
class Entry:
    kind: Kind
    name: str
    arn: str
    region: str
    created_at: datetime
    model: FoundationModel
    status: Callable[[datetime], str]
    units: int | None = None
    commitment: str | None = None
    ended_at: datetime | None = None
    tokens_trained: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    invocations: int = 0
    custom: bool = False
    """Whether the invocations are of a custom model, which has prices of its own."""
    tags: dict[str, str] = field(default_factory=dict)

    def as_json(self, now: datetime, price_list: PriceList, started: Started = None) -> dict[str, Any]:
        prices, source = price_list.of(self.model)
        cost = self._cost(now, prices, started)
        return {
            "kind": self.kind,
            "name": self.name,
            "arn": self.arn,
            "region": self.region,
            "model": self.model.customizable_id,
            "created_at": self.created_at,
            "ended_at": self.ended_at,
            "status": self.status(now),
            "units": self.units,
            "commitment": self.commitment,
            "tokens_trained": self.tokens_trained,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "invocations": self.invocations,
            "cost_usd": None if cost is None else round(cost, 6),
            "price_source": None if cost is None else source,
            "still_billing": self.still_billing(now),
        }

    def still_billing(self, now: datetime) -> bool:
        """Whether the cost keeps growing until the resource is deleted."""
        match self.kind:
            case "customization_job":
                return self.ended_at is None
            case "custom_model":
                return self.ended_at is None
            case "provisioned_throughput":
                return self.ended_at is None and self.status(now) != "Failed"
            case "custom_model_deployment" | "on_demand_invocations":
                return False  # pay per token: an idle one costs nothing (user guide, custom-model on-demand)

    def _cost(self, now: datetime, prices: Prices, started: Started) -> float | None:
        until = self.ended_at or now
        hours = max(0.0, (until - self.created_at).total_seconds() / 3600)
        match self.kind:
            case "customization_job":
                return _times(prices.training_per_million, (self.tokens_trained or 0) / 1e6)
            case "custom_model":
                return _times(prices.storage_per_month, hours / 24 / _DAYS_PER_MONTH)
            case "provisioned_throughput":
                step = _STEPS.get(started)
                hours = math.ceil(round(hours / step, 9)) * step if step else hours
                return _times(prices.unit_hour.get(self.commitment or "none"), hours * (self.units or 0))
            case "custom_model_deployment":
                return 0.0
            case "on_demand_invocations":
                return self._tokens_cost(prices)

    def _tokens_cost(self, prices: Prices) -> float | None:
        price_in, price_out = prices.input_per_million, prices.output_per_million
        if self.custom:
            price_in, price_out = prices.custom_input_per_million, prices.custom_output_per_million
        if price_in is None or price_out is None:
            return None
        return (self.input_tokens * price_in + self.output_tokens * price_out) / 1e6


def _times(price: float | None, amount: float) -> float | None:
    return None if price is None else price * amount


class Ledger:
    def __init__(self, prices: PriceList) -> None:
        self._entries: dict[str, Entry] = {}
        self._prices = prices

    def open(self, entry: Entry) -> Entry:
        return self._entries.setdefault(entry.arn, entry)

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def as_json(self, now: datetime, started: Started = None) -> dict[str, Any]:
        rows = [entry.as_json(now, self._prices, started) for entry in self._entries.values()]
        known = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
        return {
            "now": now,
            "entries": rows,
            "totals": {
                "cost_usd": round(sum(known), 6),
                "unpriced": sum(row["cost_usd"] is None for row in rows),
                "still_billing": sum(row["still_billing"] for row in rows),
                "count": {
                    kind: sum(row["kind"] == kind for row in rows) for kind in {row["kind"] for row in rows}
                },
            },
        }
