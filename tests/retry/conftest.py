"""All time here is virtual."""

from __future__ import annotations

from vlm_runner.testing.virtual import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
