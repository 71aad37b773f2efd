"""Text from outside, as a checkpoint can hold it: pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from vlm_runner.redact import redacted

LONGEST_REASON: Final = 2000
"""Characters: every save writes the whole history again."""


BEDROCK_ARN: Final = re.compile(r"arn:[\w-]+:bedrock:[\w-]*:\d*:")


def short_arns(text: str) -> str:
    """
    `text` with the ARNs of Bedrock in it cut to what is their own; others as they are.

    `arn:aws:bedrock:us-east-1:123456789012:custom-model/x` is shown as `custom-model/x`.
    """
    return BEDROCK_ARN.sub("", text)


def storable(text: str) -> str:
    """`text` with whole characters only and without secrets, cut to LONGEST_REASON."""
    whole = redacted(text).encode(errors="replace").decode()
    return whole if len(whole) <= LONGEST_REASON else whole[: LONGEST_REASON - 1] + "…"


def json_object(body: bytes | str) -> dict[str, Any] | None:
    """The JSON object that `body` is; None if it is anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def json_texts(body: bytes | str) -> list[str]:
    """The texts of a JSON list, each as a checkpoint can hold it; nothing of any other document."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return []
    return [storable(item) for item in found if isinstance(item, str)] if isinstance(found, list) else []
