"""The runs of a store in S3, those that changed last first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from vlm_runner.checkpoint import lease
from vlm_runner.cli.resolve import settings_for
from vlm_runner.errors import CheckpointError, RunNotFound
from vlm_runner.stores import opened_store

if TYPE_CHECKING:
    from datetime import datetime

    from vlm_runner.cli.options import Where
    from vlm_runner.settings import Settings


def newest_first_remote(where: Where) -> tuple[list[str], str]:
    """Their ids, and the store's address. Each checkpoint is read; those that cannot be are left out."""
    return anyio.run(_newest_first, settings_for(where))


async def _newest_first(settings: Settings) -> tuple[list[str], str]:
    changed: list[tuple[datetime, str]] = []
    async with opened_store(settings) as store:
        for run_id in await store.run_ids():
            try:
                checkpoint, _ = await lease.load(store, run_id)
            except (CheckpointError, RunNotFound):
                continue
            changed.append((checkpoint.saved_at or checkpoint.run.updated_at, run_id))
        return [run_id for _, run_id in sorted(changed, reverse=True)], store.uri
