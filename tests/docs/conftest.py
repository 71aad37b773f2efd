from __future__ import annotations

from tests.e2e.conftest import laptop, pages, shared_sandbox, slow_laptop

__all__ = ["laptop", "pages", "shared_sandbox", "slow_laptop"]
