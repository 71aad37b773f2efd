"""Names that can be part of an S3 key or a file name; run ids are such names."""

from __future__ import annotations

import re

from vlm_runner.errors import UsageError

SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def is_path_segment(text: str) -> bool:
    """Whether `text` can be one part of an S3 key or a file name."""
    return SEGMENT.fullmatch(text) is not None and ".." not in text


def path_segment(text: str) -> str:
    """`text` if it can be one part of an S3 key or a file name, else ValueError."""
    if not is_path_segment(text):
        raise ValueError(
            f"'{text}' may hold letters, digits, '.', '_' and '-' only, at most 96, "
            "must begin with a letter or digit and have no '..'"
        )
    return text


def checked_run_id(run_id: str) -> str:
    """`run_id`; raises UsageError if it cannot be one."""
    try:
        return path_segment(run_id)
    except ValueError as error:
        raise UsageError(f"Invalid run id: {error}.") from None
