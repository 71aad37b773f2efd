"""
What watchers get in addition to events: progress between two facts. Never saved; no decision depends on them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vlm_runner.core.counts import TokenSum
from vlm_runner.core.events import Value


class StagingProgress(Value, frozen=True):
    kind: Literal["staging_progress"] = "staging_progress"
    subset: str
    rows_done: int
    rows: int
    bytes_uploaded: int
    bytes_downloaded: int = 0
    """Of a dataset that is not on this machine, since it was opened."""
    passed_through: int
    converted: int
    skipped: int
    in_flight: int
    concurrency: int = 0
    """How many uploads may be in flight; it adapts to S3's throttling."""
    rate: float = 0.0
    """Rows per second that this process staged."""
    seconds: float
    seconds_left: float | None = None


class DownloadProgress(Value, frozen=True):
    """A dataset that is not on this machine is being opened; nothing of it is staged yet."""

    kind: Literal["download_progress"] = "download_progress"
    file: str
    """From which the last bytes are."""
    bytes: int
    """Until now, in this process."""
    seconds: float
    done: bool = False
    """The last of these signals, until there is more to open."""


class RemoteStatusChanged(Value, frozen=True):
    """A remote status, as AWS names it; `details` are of validation, data processing and training."""

    kind: Literal["remote_status_changed"] = "remote_status_changed"
    what: Literal["job", "model", "endpoint"]
    arn: str
    status: str
    details: dict[str, str] = Field(default_factory=dict)


class TestAnswered(Value, frozen=True):
    __test__ = False

    kind: Literal["test_answered"] = "test_answered"
    done: int
    asked: int
    input_tokens: TokenSum = 0
    output_tokens: TokenSum = 0
    """Of the tuned model's answers so far, as AWS reports them."""
    base_input_tokens: TokenSum = 0
    base_output_tokens: TokenSum = 0


class Trouble(Value, frozen=True):
    """Something went wrong and is retried, or is unusual and only reported."""

    kind: Literal["trouble"] = "trouble"
    doing: str
    message: str


class HeldElsewhere(Value, frozen=True):
    """Another process drives the run, or seems to; this one waits."""

    kind: Literal["held_elsewhere"] = "held_elsewhere"
    host: str
    pid: int


Signal = Annotated[
    StagingProgress | DownloadProgress | RemoteStatusChanged | TestAnswered | Trouble | HeldElsewhere,
    Field(discriminator="kind"),
]
