"""Why a container ended, for SageMaker: it shows the content of this file as the job's ExitMessage."""

from __future__ import annotations

import contextlib

from vlm_runner import environment
from vlm_runner.redact import printable, redacted

LONGEST = 1000
"""Characters; SageMaker keeps one kilobyte (API reference, DescribeProcessingJob)."""


def write_exit_message(text: str) -> None:
    """Does nothing outside of SageMaker, where the folder does not exist."""
    path = environment.message_file()
    with contextlib.suppress(OSError):
        if path.parent.is_dir():
            path.write_text(printable(redacted(text))[:LONGEST], encoding="utf-8")
