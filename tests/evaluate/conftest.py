from tests.shortcuts import checkpoints_read_once
from vlm_runner.testing.virtual import pytest_asyncio_loop_factories

__all__ = ["checkpoints_read_once", "pytest_asyncio_loop_factories"]
