"""Processes that decode images, kept from test to test: each takes 0.2 s of CPU to start."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from vlm_runner.ingest import pipeline
from vlm_runner.ingest.converters import Converters
from vlm_runner.lint import dataset

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def decoders_kept() -> Iterator[None]:
    """For a conftest: what one staging or lint leaves idle is used by the next, and ends at the end."""
    with Converters() as kept:

        class Kept(Converters):
            def __init__(self) -> None:
                super().__init__()
                self._idle = kept._idle

            def __exit__(self, *_: object) -> None:
                """They are the next test's."""

        with patch.object(pipeline, "Converters", Kept), patch.object(dataset, "Converters", Kept):
            yield
