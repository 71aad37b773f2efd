from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import laptop, pages, shared_sandbox, slow_laptop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deploy.containers import Container

__all__ = ["laptop", "pages", "shared_sandbox", "slow_laptop"]


@pytest.fixture
def containers() -> Iterator[list[Container]]:
    """Whatever a test puts into it is ended with the test."""
    started: list[Container] = []
    yield started
    for container in started:
        container.end()
