"""Which usage type of AWS's price list is which price of the catalogue; pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vlm_runner.aws.ports import ListedPrice
    from vlm_runner.models import ModelProfile

SUFFIXES: Final = {
    "training_per_million_tokens": "Customization-Training",
    "storage_per_month": "Customization-Storage",
    "throughput_per_unit_hour": "ProvisionedThroughput-NoCommit-ModelUnits",
    "input_per_million_tokens": "input-tokens",
    "output_per_million_tokens": "output-tokens",
    "custom_input_per_million_tokens": "input-tokens-custom-model",
    "custom_output_per_million_tokens": "output-tokens-custom-model",
}
"""
By price: what follows the region and the model's name in its usage type.

As a third party read them from the Price List API in 2026-08 (facts: aws-truth, 1.4). Commitments are not
among them: a run never makes one.
"""

REGIONS: Final = {"us-east-1": "USE1", "us-west-2": "USW2"}
"""How usage types abbreviate the regions in which models are fine-tuned."""

UNITS: Final = {
    "_per_million_tokens": {"1K tokens": Decimal(1000), "1M tokens": Decimal(1)},
    "_per_month": {"Model/month": Decimal(1)},
    "_per_unit_hour": {"hour": Decimal(1), "Hrs": Decimal(1)},
}
"""By the end of a price's name: the units that are seen in records, and how many of them it is for."""


def usage_types(profile: ModelProfile) -> dict[str, str]:
    """The usage type of each price; empty where AWS's name for the model is not known."""
    region = REGIONS.get(profile.regions[0])
    if profile.usage_family is None or region is None:
        return {}
    return {name: f"{region}-{profile.usage_family}-{suffix}" for name, suffix in SUFFIXES.items()}


def as_catalogued(name: str, listed: ListedPrice) -> Decimal | None:
    """US dollars for what `name` is a price of; None where the record's unit is another one."""
    times = next(units for end, units in UNITS.items() if name.endswith(end)).get(listed.unit)
    return None if times is None else (listed.usd * times).normalize()
