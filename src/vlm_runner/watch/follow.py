"""A run's history as it grows, read from its checkpoint: from anywhere that reaches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.checkpoint import lease
from vlm_runner.errors import AwsUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.clock import Clock
    from vlm_runner.core.events import Entry

EVERY = 1.0
"""Seconds between two looks."""


async def checkpoints(
    store: CheckpointStore, run_id: str, *, clock: Clock, every: float = EVERY
) -> AsyncIterator[Checkpoint]:
    """
    The checkpoint now, and again whenever it has changed, until the run is done.

    A store that cannot be reached for a while is waited for, once it was reached.
    """
    seen: str | None = None
    while True:
        try:
            checkpoint, _ = await lease.load(store, run_id)
        except AwsUnavailable:
            if seen is None:
                raise
        else:
            if checkpoint.write_id != seen:
                seen = checkpoint.write_id
                yield checkpoint
            if checkpoint.run.done:
                return
        await clock.sleep(every)


async def entries(
    store: CheckpointStore, run_id: str, *, clock: Clock, after: int = 0, every: float = EVERY
) -> AsyncIterator[Entry]:
    """
    Every entry from `after` + 1 on, each exactly once, whichever process drives the run.

    Numbers never change once they are saved, and what is not saved is not reported.
    """
    last = after
    async for checkpoint in checkpoints(store, run_id, clock=clock, every=every):
        for entry in checkpoint.history:
            if entry.sequence > last:
                last = entry.sequence
                yield entry
