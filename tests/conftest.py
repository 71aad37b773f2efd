"""For all tests: no example is timed, since machines are slow when they are busy."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from itertools import chain, groupby, islice

import pytest
from hypothesis import settings

# Prices that a test looks up are not the user's, nor the other way about.
CACHE = tempfile.mkdtemp(prefix="vlm-runner-cache-")
os.environ["XDG_CACHE_HOME"] = CACHE

WAITING = {"chaos", "deploy", "docs", "e2e", "notebook", "places", "track", "verify", "wakeup"}
"""Folders of such tests."""

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)  # what is deselected has no share
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Let each worker begin with tests that start processes and wait for them.

    Last, they would leave processors idle. xdist gives each worker as many tests as any other, one after
    another (`--dist worksteal`), so what it begins with is what stands first in its share.
    """
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    waiting = [item for item in items if item.nodeid.split("/")[1] in WAITING]
    others = iter([item for item in items if item.nodeid.split("/")[1] not in WAITING])
    modules = [list(of_module) for _, of_module in groupby(waiting, lambda item: item.path)]
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for tests in sorted(modules, key=len, reverse=True):
        min(shares, key=len).extend(tests)
    for share in shares:
        share.extend(islice(others, max(0, len(items) // workers - len(share))))
    items[:] = [*chain.from_iterable(shares), *others]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What thousands of collected tests hold stays to the end: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)
