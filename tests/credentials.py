"""AWS's variables as a test wants them, whatever the user's are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def without_aws_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


def sandbox_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a key, which any sandbox takes."""
    without_aws_variables(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
