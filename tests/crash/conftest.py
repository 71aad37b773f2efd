"""Thousands of runs: what changes nothing about them is done once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.shortcuts import shortcuts

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _quicker() -> Iterator[None]:
    with shortcuts():
        yield
