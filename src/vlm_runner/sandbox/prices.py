"""
Prices: those of the catalogue, overridden by a user's own.

The user's file is the one that the runner takes (`[models."ID".prices]`), so that a plan and the ledger can
use the same prices, and can be compared.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlm_runner.sandbox.catalogue import FoundationModel, Prices

AS_SHIPPED = "the sandbox's own list: AWS's where a source gives it, else invented (sandbox/catalogue.toml)"
_PLAIN = {
    "training_per_million_tokens": "training_per_million",
    "storage_per_month": "storage_per_month",
    "input_per_million_tokens": "input_per_million",
    "output_per_million_tokens": "output_per_million",
    "custom_input_per_million_tokens": "custom_input_per_million",
    "custom_output_per_million_tokens": "custom_output_per_million",
}
_UNIT_HOURS = {
    "throughput_per_unit_hour": "none",
    "throughput_per_unit_hour_one_month": "OneMonth",
    "throughput_per_unit_hour_six_months": "SixMonths",
}


@dataclass(frozen=True)
class PriceList:
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Keyed by the model id that jobs take."""
    source: str = AS_SHIPPED

    def of(self, model: FoundationModel) -> tuple[Prices, str]:
        """A model's prices, and their source."""
        own = self.own.get(model.customizable_id)
        if own is None:
            return model.prices, AS_SHIPPED
        known = {name: price for name, price in own.items() if price != "unknown"}
        plain = {_PLAIN[name]: float(price) for name, price in known.items() if name in _PLAIN}
        hours = {_UNIT_HOURS[name]: float(price) for name, price in known.items() if name in _UNIT_HOURS}
        unit_hour = model.prices.unit_hour | hours
        return model.prices.model_copy(update=plain | {"unit_hour": unit_hour}), self.source


def read_prices(path: Path | None) -> PriceList:
    """
    The tables `[models."ID".prices]` of a file; the rest of it is ignored. None: the shipped prices.

    Raises:
        ValueError: it is not valid TOML, or a price is not a number.
    """
    if path is None:
        return PriceList()
    models = tomllib.loads(path.read_text(encoding="utf-8")).get("models", {})
    own = {name: table["prices"] for name, table in models.items() if "prices" in table}
    for name, prices in own.items():
        for key, price in prices.items():
            if key in {*_PLAIN, *_UNIT_HOURS} and price != "unknown" and not isinstance(price, int | float):
                raise ValueError(f"{key} of {name} is {price!r}, which is not a number")
    return PriceList(own, f"{path.name}, the price file given")
