"""
The fence: a check that runs between signing and sending of each request that pays.

A process that was frozen between the two wakes up with a signature that dies within minutes, and is
stopped here; checked before signing, it could sleep after the check, and buy hours later.

The tasks that drive a run set it, and the clients obey it. It is a context variable because the runs of one
process share their clients, and each has a lease of its own.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_check: ContextVar[Callable[[], None] | None] = ContextVar("fence", default=None)


def set_fence(check: Callable[[], None] | None) -> None:
    """Before this task, or one that it starts, sends what pays, `check` must pass; None: nothing need."""
    _check.set(check)


def check_fence() -> None:
    """Called right before sending. Raises what the check raises, and then nothing may be sent."""
    check = _check.get()
    if check is not None:
        check()
