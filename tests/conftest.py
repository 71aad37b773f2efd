"""For all tests: no example is timed, since machines are slow when they are busy."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from hypothesis import settings

if TYPE_CHECKING:
    import pytest

# Prices that a test looks up are not the user's, nor the other way about.
CACHE = tempfile.mkdtemp(prefix="vlm-runner-cache-")
os.environ["XDG_CACHE_HOME"] = CACHE

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What thousands of collected tests hold stays to the end: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)
