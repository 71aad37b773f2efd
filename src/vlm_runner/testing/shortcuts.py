"""What makes thousands of histories affordable, and changes none of them."""

from __future__ import annotations

import contextlib
import gc
from functools import lru_cache
from typing import TYPE_CHECKING
from unittest.mock import patch

from vlm_runner.checkpoint import document, holder, lease
from vlm_runner.testing import world

if TYPE_CHECKING:
    from collections.abc import Iterator

REMEMBERED = 256
"""Checkpoints: those that the processes of one history still read."""


@contextlib.contextmanager
def shortcuts() -> Iterator[None]:
    """
    Within, the same bytes are parsed and checked once, and nobody asks the kernel who is alive.

    All processes of a virtual world are this one, so the kernel would always say yes.
    """
    remembering = lru_cache(REMEMBERED)(document.from_bytes)
    # What a history leaves is collected after it, rather than looked at time and again while it lasts.
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000)
    with (
        patch.object(lease, "from_bytes", remembering),
        patch.object(world, "from_bytes", remembering),
        patch.object(holder, "is_dead", lambda _: False),
    ):
        yield
    gc.set_threshold(*usual)
    gc.unfreeze()
