"""prices: what a model costs, by which source, and of which day."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.aws.session import AwsSession
from vlm_runner.cli import console
from vlm_runner.cli.completion import complete_models
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.dollars import UNKNOWN, about
from vlm_runner.errors import UsageError
from vlm_runner.models.profile import plain
from vlm_runner.prices import look_up, priced_catalogue
from vlm_runner.prices.usage_types import SUFFIXES

if TYPE_CHECKING:
    from vlm_runner.json_output import ModelPricesJson
    from vlm_runner.models import ModelProfile
    from vlm_runner.prices.stored import Listed
    from vlm_runner.settings import Settings


@click.command()
@click.argument("model", metavar="[MODEL]", required=False, shell_complete=complete_models)
@click.option("--refresh", is_flag=True, help="Ask AWS again, even if its prices were read within a week.")
@click.option("--offline", is_flag=True, help="Make no AWS requests.")
@click.option("--write", metavar="FILE", help="Write them into a new FILE, for VLM_RUNNER_CATALOGUE.")
@json_option
@where_options
def prices(
    model: str | None, *, refresh: bool, offline: bool, write: str | None, as_json: bool, **flags: Any
) -> None:
    """Show what MODEL costs, with source and date.

    Without MODEL: every active model. Prices are read from AWS's price list (pricing:GetProducts, free of
    charge) and kept for a week. Your own file, named in VLM_RUNNER_CATALOGUE, goes before them, and what came
    with this version after them.

    \b
    Example:
        vlm-runner prices
        vlm-runner prices amazon.nova-lite-v1:0:300k --write prices.toml
    """
    settings = settings_for(Where(**flags), ask_profile=not offline)
    now = dt.datetime.now(dt.UTC)
    catalogue = priced_catalogue(settings)
    chosen = [catalogue.find(model)] if model else [*catalogue.living(now.date())]
    if not offline:
        listed, troubles = anyio.run(partial(_listed, settings, chosen, now, refresh=refresh))
        catalogue = priced_catalogue(settings, listed)
        chosen = [catalogue.find(each.base_id) for each in chosen]
        for trouble in troubles:
            console.say(f"vlm-runner: {trouble}")
    if write is not None:
        count = _write(Path(write), chosen)
        console.say(f"Wrote {count} prices to {write}. Use them: export VLM_RUNNER_CATALOGUE={write}")
    if as_json:
        console.result_json([_json(profile) for profile in chosen])
    elif write is None:
        console.result("\n\n".join(map(_text, chosen)))


async def _listed(
    settings: Settings, profiles: list[ModelProfile], now: dt.datetime, *, refresh: bool
) -> tuple[dict[str, Listed], list[str]]:
    found: dict[str, Listed] = {}
    troubles: list[str] = []
    async with AwsSession(
        region=settings.region or profiles[0].regions[0],
        profile=settings.profile,
        endpoint_url=settings.endpoint_url,
    ) as session:
        for profile in profiles:
            looked = await look_up(profile, session.prices, now=now, refresh=refresh)
            found[profile.base_id] = looked.prices
            troubles += looked.troubles
    return found, troubles


def _write(path: Path, profiles: list[ModelProfile]) -> int:
    """Those that are known, into a new file; returns how many."""
    lines: list[str] = []
    count = 0
    for profile in profiles:
        lines.append(f'[models."{profile.base_id}".prices]')
        for name in SUFFIXES:
            if (value := getattr(profile.prices, name)) is not None:
                source = profile.prices.source_of(name)
                lines.append(f"{name} = {plain(value)}    # {source.source}, {source.date}")
                count += 1
        lines.append("")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines))
    except FileExistsError:
        raise UsageError(f"{path} exists already.", hint="Name another file.") from None
    return count


def _json(profile: ModelProfile) -> ModelPricesJson:
    return {
        "model": profile.base_id,
        "currency": "USD",
        "prices": [
            {
                "name": name,
                "usd": None if value is None else float(value),
                "source": None if value is None else source.source,
                "date": None if value is None else source.date.isoformat(),
                "about": value is not None and source.about,
            }
            for name in SUFFIXES
            for value, source in [(getattr(profile.prices, name), profile.prices.source_of(name))]
        ],
    }


def _text(profile: ModelProfile) -> str:
    known = {name: getattr(profile.prices, name) for name in SUFFIXES}
    origins = {name: profile.prices.source_of(name) for name, value in known.items() if value is not None}
    sources = {name: f"{source.source}, {source.date}" for name, source in origins.items()}
    common = next(iter(sources.values())) if len({*sources.values()}) == 1 else None
    lines = [f"{profile.name} ({profile.base_id}), US dollars:"]
    for name, value in known.items():
        estimated = profile.prices.source_of(name).about
        said = UNKNOWN if value is None else about(plain(value), estimated=estimated)
        told = "" if common else sources.get(name, "")
        lines.append(f"  {name.replace('_', ' '):<34}{said:>14}  {told}".rstrip())
    return "\n".join([*lines, *([f"  from {common}"] if common else [])])
