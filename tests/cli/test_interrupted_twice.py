"""A second Ctrl-C ends the process at once, and says how to reach the run again."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vlm_runner.cli.foreground import _leave_at_once
from vlm_runner.settings import Settings

if TYPE_CHECKING:
    import pytest


def test_every_flag_that_reaches_the_run_is_in_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    handle: Any = SimpleNamespace(run=None, run_id="cats")

    _leave_at_once(handle, Settings(), ["--region", "eu-west-1", "--store", "s3://bucket/my runs"])

    said = capsys.readouterr().err
    assert said == "Resume with: vlm-runner resume cats --region eu-west-1 --store 's3://bucket/my runs'\n"
    assert codes == [130]
