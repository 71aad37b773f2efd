"""What makes thousands of histories affordable, and changes none of them."""

from __future__ import annotations

import contextlib
import gc
from functools import lru_cache
from typing import TYPE_CHECKING
from unittest.mock import patch

from vlm_runner.checkpoint import document, lease, process_identity
from vlm_runner.testing import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.checkpoint.document import Checkpoint

REMEMBERED = 256
"""Checkpoints: those that the processes of one history still read."""


@contextlib.contextmanager
def shortcuts(*, trusting: bool = False) -> Iterator[None]:
    """
    Within, the same bytes are parsed and checked once, and nobody asks the kernel who is alive.

    All processes of a virtual world are this one, so the kernel would always say yes. With `trusting`, what
    was written is not parsed at all: that reading undoes writing is for other tests to prove.
    """
    memory = _Memory()
    usual = gc.get_threshold()
    # What a history leaves is collected after it, rather than looked at time and again while it lasts; what
    # other tests have left is not looked at by any further collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000)
    with (
        patch.object(lease, "from_bytes", memory.from_bytes),
        patch.object(world, "from_bytes", memory.from_bytes),
        patch.object(lease, "to_bytes", memory.to_bytes if trusting else document.to_bytes),
        patch.object(process_identity, "is_dead", lambda _: False),
    ):
        yield
    gc.set_threshold(*usual)


class _Memory:
    def __init__(self) -> None:
        self._written: dict[bytes, Checkpoint] = {}
        self._parse = lru_cache(REMEMBERED)(document.from_bytes)

    def to_bytes(self, checkpoint: Checkpoint) -> bytes:
        body = document.to_bytes(checkpoint)
        self._written[body] = checkpoint
        if len(self._written) > REMEMBERED:
            del self._written[next(iter(self._written))]
        return body

    def from_bytes(self, body: bytes, *, where: str) -> Checkpoint:
        return self._written.get(body) or self._parse(body, where=where)
