"""Why a container ended, for SageMaker: it shows what is in this file as the job's ExitMessage."""

from __future__ import annotations

import contextlib

LONGEST = 1000
"""Characters; SageMaker keeps one kilobyte (API reference, DescribeProcessingJob)."""


def write_exit_message(text: str) -> None:
    """Outside of SageMaker there is no such place, and nothing happens."""
    from vlm_runner import environment
    from vlm_runner.redact import printable, redacted
    from vlm_runner.settings import ProcessingSettings

    path = environment.message_file() or ProcessingSettings().message
    with contextlib.suppress(OSError):
        if path.parent.is_dir():
            path.write_text(printable(redacted(text))[:LONGEST], encoding="utf-8")
