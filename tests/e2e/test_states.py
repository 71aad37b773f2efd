"""RUNNING, STALE and STOPPED, told apart from anywhere that reaches the checkpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.histories import begun
from vlm_runner.checkpoint.document import Checkpoint, Holder
from vlm_runner.checkpoint.process_identity import this_process
from vlm_runner.cli.run_view import CheckpointView, state_of

ELSEWHERE = Holder(id="a", host="another-machine", pid=1, boot_id="b", pid_namespace="c", pid_started="d")


@pytest.mark.parametrize(
    ("holder", "silent_minutes", "state"),
    [
        (None, 0, "STOPPED"),
        (this_process("1"), 0, "RUNNING"),
        (ELSEWHERE, 1, "RUNNING"),
        (ELSEWHERE, 3, "STALE"),
        (this_process("1").model_copy(update={"pid": 2**22}), 0, "STALE"),
    ],
    ids=[
        "let go",
        "this process",
        "renewed a minute ago",
        "silent for three",
        "a dead process of this machine",
    ],
)
def test_a_sign_of_life_tells_running_from_stale(
    holder: Holder | None, silent_minutes: int, state: str
) -> None:
    saved_at = datetime.now(UTC) - timedelta(minutes=silent_minutes)
    checkpoint = Checkpoint(write_id="w", holder=holder, saved_at=saved_at, run=begun(), history=())

    assert state_of(CheckpointView.of(checkpoint), 104.0) == state
