from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.shortcuts import shortcuts

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=None, help="How many histories to simulate.")
    parser.addoption("--first-seed", type=int, default=0, help="Where to begin.")


@pytest.fixture(autouse=True)
def _quicker() -> Iterator[None]:
    with shortcuts(trusting=True):
        yield
