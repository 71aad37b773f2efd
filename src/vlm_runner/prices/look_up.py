"""Looking up what AWS lists for a model. What cannot be had is told, and leaves the next source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import anyio

from vlm_runner.errors import VlmRunnerError
from vlm_runner.models.profile import plain
from vlm_runner.prices import stored
from vlm_runner.prices.usage_types import as_catalogued, usage_types

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from vlm_runner.aws.ports import PriceList
    from vlm_runner.models import ModelProfile
    from vlm_runner.prices.stored import Listed

SECONDS: Final = 10.0
"""For all of a model's prices: nobody waits longer for what the package's snapshot may know too."""

GOOD_FOR: Final = timedelta(days=7)
"""AWS changes prices rarely, and says when it does."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found for one model, and in a sentence each what was not."""

    prices: Listed
    troubles: tuple[str, ...] = ()


async def look_up(
    profile: ModelProfile, price_list: PriceList, *, now: datetime, refresh: bool = False
) -> Looked:
    """
    The prices of `profile` as AWS lists them: those stored within a week, else asked for and stored.

    Raises nothing of AWS's: each error is a sentence in `troubles`.
    """
    wanted = usage_types(profile)
    if not wanted:
        return Looked({})
    try:
        source = await price_list.source()
    except VlmRunnerError as error:
        return Looked({}, (f"AWS's price list could not be read: {error.message}",))
    known = stored.read(source, profile.base_id, since=now - GOOD_FOR)
    # What is no part of AWS may be another price list each time.
    if known and not refresh and stored.is_aws(source):
        return Looked(known)
    found, troubles = await _asked(profile, wanted, price_list)
    told = {"source": _title(source), "date": now.date().isoformat()}
    said = {name: {"value": plain(value)} | told for name, value in found.items()}
    if said:
        stored.write(source, profile.base_id, said, at=now)
    return Looked(said, troubles)


def _title(source: str) -> str:
    return "AWS Price List API" if stored.is_aws(source) else f"the price list of {source}"


async def _asked(
    profile: ModelProfile, wanted: dict[str, str], price_list: PriceList
) -> tuple[dict[str, Decimal], tuple[str, ...]]:
    found: dict[str, Decimal] = {}
    troubles: dict[str, None] = {}

    async def ask(name: str, usage_type: str) -> None:
        try:
            listed = await price_list.find(profile.regions[0], usage_type)
        except VlmRunnerError as error:
            troubles[f"{name} was not read from AWS's price list: {error.message}"] = None
            return
        if listed is None:
            troubles[f"AWS's price list has nothing for {usage_type} ({name})"] = None
            return
        value = as_catalogued(name, listed)
        if value is None:
            said = f"AWS's price list gives {usage_type} by '{listed.unit}', which is not a unit of {name}"
            troubles[said] = None
            return
        found[name] = value

    with anyio.move_on_after(SECONDS) as limit:
        async with anyio.create_task_group() as group:
            for name, usage_type in wanted.items():
                group.start_soon(ask, name, usage_type)
    if limit.cancelled_caught:
        missing = ", ".join(name for name in wanted if name not in found)
        troubles[f"AWS's price list did not answer within {SECONDS:.0f} seconds: {missing}"] = None
    return found, tuple(troubles)
