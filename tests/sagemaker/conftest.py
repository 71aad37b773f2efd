from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import laptop, shared_sandbox, slow_laptop
from tests.e2e.laptop import notebook_dataset

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["laptop", "shared_sandbox", "slow_laptop"]


@pytest.fixture(scope="session")
def many_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five shards: more than there are instances, and not a multiple."""
    return notebook_dataset(tmp_path_factory.mktemp("many"), rows=64 * 4 + 10)
