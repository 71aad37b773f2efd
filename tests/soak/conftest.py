"""The same sandbox and pages as the end-to-end tests have."""

from __future__ import annotations

from tests.e2e.conftest import laptop, pages, shared_sandbox

__all__ = ["laptop", "pages", "shared_sandbox"]
