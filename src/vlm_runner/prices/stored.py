"""
Prices that were looked up, on disk: one file for each price list, of AWS or of a sandbox.

A cache: what is broken in it counts as not there, and what cannot be written is looked up again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vlm_runner.atomic_file import replacing
from vlm_runner.core.text import json_object
from vlm_runner.environment import cache_home, pricing_endpoint
from vlm_runner.models import load_catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.models import Catalogue
    from vlm_runner.settings import Settings

Listed = dict[str, dict[str, str]]
"""By the price's name: value, source and date, as texts."""


def is_aws(source: str) -> bool:
    """Whether a URL is AWS's own."""
    host = urlsplit(source).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def read(source: str, base_id: str, *, since: datetime) -> Listed | None:
    """What was stored of the model at `since` or later; None if nothing was."""
    return _listed(_table(source).get(base_id), since)


def _listed(table: Any, since: datetime) -> Listed | None:
    if not isinstance(table, dict) or not isinstance(table.get("prices"), dict):
        return None
    try:
        at = datetime.fromisoformat(str(table.get("at")))
    except ValueError:
        return None
    if at.tzinfo is None or at < since:
        return None
    return {name: entry for name, entry in table["prices"].items() if _sound(entry)}


def write(source: str, base_id: str, prices: Listed, *, at: datetime) -> None:
    """Keep them, in place of what was stored of the model; the disk may refuse."""
    table = _table(source) | {base_id: {"at": at.isoformat(), "prices": prices}}
    path = _path(source)
    with contextlib.suppress(OSError), replacing(path) as fresh:
        fresh.write_text(json.dumps(table), encoding="utf-8")


def priced_catalogue(settings: Settings, looked: dict[str, Listed] | None = None) -> Catalogue:
    """
    The catalogue as these settings see it: the user's file over AWS's prices over the package's snapshot.

    AWS's prices are those in `looked` (by model), else those that were last stored. Asks nobody.
    """
    found = looked if looked is not None else _all_stored(source_of(settings))
    models = {base_id: {"prices": _values(prices)} for base_id, prices in found.items() if prices}
    return load_catalogue(settings.catalogue, live={"models": models} if models else None)


def source_of(settings: Settings) -> str:
    """The URL of the price list that a session of these settings asks."""
    return settings.endpoint_url or pricing_endpoint() or "https://api.pricing.us-east-1.amazonaws.com"


def _all_stored(source: str) -> dict[str, Listed]:
    ever, known = datetime(1970, 1, 1, tzinfo=UTC), load_catalogue().models
    return {name: _listed(table, ever) or {} for name, table in _table(source).items() if name in known}


def _values(prices: Listed) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "value": Decimal(entry["value"]),
            "source": entry["source"],
            "date": date.fromisoformat(entry["date"]),
        }
        for name, entry in prices.items()
    }


def _sound(entry: Any) -> bool:
    try:
        date.fromisoformat(entry["date"])
        return Decimal(entry["value"]) >= 0 and isinstance(entry["source"], str)
    except (KeyError, TypeError, ValueError, InvalidOperation):
        return False


def _table(source: str) -> dict[str, Any]:
    try:
        return json_object(_path(source).read_bytes()) or {}
    except OSError:
        return {}


def _path(source: str) -> Path:
    name = "aws" if is_aws(source) else hashlib.sha256(source.encode()).hexdigest()[:16]
    return cache_home() / "vlm-runner" / f"prices-{name}.json"
