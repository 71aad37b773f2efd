"""One sandbox for all tests of this folder, emptied before each."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from vlm_runner.sandbox import Sandbox, SandboxOptions

from .desk import Desk


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(as_of=datetime(2026, 11, 22, tzinfo=UTC), model_units=2)) as running:
        yield running


@pytest.fixture
def desk(sandbox: Sandbox) -> Desk:
    desk = Desk(sandbox)
    desk.call("POST", "reset")
    return desk


@pytest.fixture
def desk_of_2025() -> Iterator[Desk]:
    """A sandbox in which Llama 3.2 is still alive, in its only Region."""
    with Sandbox(SandboxOptions(as_of=datetime(2025, 11, 1, tzinfo=UTC), model_units=2)) as running:
        yield Desk(running, "us-west-2")
