from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .laptop import Laptop, notebook_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    laptop = Laptop.start(tmp_path_factory.mktemp("sandbox"), speed=3600)
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
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return notebook_dataset(tmp_path_factory.mktemp("pages"), rows=12)
