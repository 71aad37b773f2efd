"""Names that may stand in S3 keys and file names."""

from __future__ import annotations

import re

SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def path_segment(text: str) -> str:
    """`text` if it may stand as one part of an S3 key or a file name, else ValueError."""
    if not SEGMENT.fullmatch(text) or ".." in text:
        raise ValueError(
            f"'{text}' may hold letters, digits, '.', '_' and '-' only, at most 96, "
            "must begin with a letter or digit and have no '..'"
        )
    return text
