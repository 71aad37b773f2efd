from vlm_runner.testing.virtual import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
