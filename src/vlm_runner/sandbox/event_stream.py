"""
Messages of `application/vnd.amazon.eventstream`, as the SDK's decoder reads them.

Each is: total length, length of the headers and a CRC-32 of both; headers; payload; a CRC-32 of all before
(Amazon Transcribe developer guide, "Event stream encoding").
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from struct import pack
from typing import Any, Final

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
STRING: Final = 7
"""The type of a header's value."""


def event_stream(events: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """All `events`, each by its type and content."""
    return b"".join(_message(kind, json.dumps(content).encode()) for kind, content in events)


def _message(kind: str, payload: bytes) -> bytes:
    headers = b"".join(
        _header(name, value)
        for name, value in (
            (":event-type", kind),
            (":content-type", "application/json"),
            (":message-type", "event"),
        )
    )
    lengths = pack("!II", 16 + len(headers) + len(payload), len(headers))
    whole = lengths + pack("!I", zlib.crc32(lengths)) + headers + payload
    return whole + pack("!I", zlib.crc32(whole))


def _header(name: str, value: str) -> bytes:
    return pack("!B", len(name)) + name.encode() + pack("!BH", STRING, len(value)) + value.encode()
