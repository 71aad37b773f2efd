"""What takes long to find out and is the same for every worker of a session."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def once_a_session(factory: pytest.TempPathFactory, name: str, make: Callable[[], Any]) -> Any:
    """
    The JSON value that `make` returned to the first worker that asked; the others wait for it.

    Where it raises, the next one that asks tries again.
    """
    folder = _of_all_workers(factory)
    kept = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(make()))
        return json.loads(kept.read_text())


def _of_all_workers(factory: pytest.TempPathFactory) -> Path:
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
