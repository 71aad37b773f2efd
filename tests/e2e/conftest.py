from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .laptop import Laptop, notebook_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SANDBOX: pytest.StashKey[Laptop] = pytest.StashKey()
PAGES: pytest.StashKey[Path] = pytest.StashKey()
"""Other folders import these fixtures, and pytest then keeps one for each of them."""


@pytest.fixture(scope="session")
def shared_sandbox(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laptop]:
    """One for all folders; it ends with the session."""
    stash = request.config.stash
    if SANDBOX in stash:
        yield stash[SANDBOX]
        return
    laptop = stash[SANDBOX] = Laptop.start(tmp_path_factory.mktemp("sandbox"), speed=3600)
    yield laptop
    laptop.stop()


@pytest.fixture
def laptop(shared_sandbox: Laptop, tmp_path: Path) -> Iterator[Laptop]:
    """A sandbox of today, in which an hour passes in a second."""
    laptop = shared_sandbox.anew(tmp_path, speed=3600)
    yield laptop
    laptop.kill_runners()


@pytest.fixture
def slow_laptop(shared_sandbox: Laptop, tmp_path: Path) -> Iterator[Laptop]:
    """A sandbox in which a job takes longer than the test, unless its clock is moved."""
    laptop = shared_sandbox.anew(tmp_path, speed=1)
    yield laptop
    laptop.kill_runners()


@pytest.fixture(scope="session")
def pages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    stash = request.config.stash
    if PAGES not in stash:
        stash[PAGES] = notebook_dataset(tmp_path_factory.mktemp("pages"), rows=12)
    return stash[PAGES]
