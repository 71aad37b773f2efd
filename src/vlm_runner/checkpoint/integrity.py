"""
The checkpoint as plain JSON: verified against damage and newer versions, and no more.

What only shows a run reads it so, in a third of the time that pydantic's import and models take.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.errors import CheckpointError, NewerCheckpoint
from vlm_runner.nesting import is_too_deep

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: Final = 3
"""The newest that this version writes. It reads older ones, and a newer one whose `min_reader` allows it."""
TRAINS: Final = 1
"""Of a run that trains a model: versions from before `serve` read it."""
SERVES: Final = 2
"""Of a run that serves an earlier run's model: an older version would take it for one that trains."""
LATER_EVENTS: Final = 3
"""Of a run with an event that older versions do not know, or not in its phase."""
LATER_KINDS: Final = frozenset({"job_stalled", "job_erred"})

MAX_BYTES: Final = 4 * 1024 * 1024
"""No reader takes more, so no writer saves more."""

KEPT_FREE: Final = {
    "run_created": 1024 * 1024,
    "images_staged": 1024 * 1024,
    "records_written": 1024 * 1024,
    "job_intended": 1024 * 1024,
    "serving_intended": 512 * 1024,
}
"""
Bytes that a save of these events leaves free for what follows: what is bought must be recorded and released.

Every text of an event is cut (`vlm_runner.core.text`), so that all that can follow fits; a test adds it up.
"""

SEAL: Final = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\s*$')
"""The end of a document that this version wrote."""


def read_file(path: Path) -> bytes | None:
    """
    The document; None if the file does not exist. Of one that is too large, as much as shows that it is.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        # Not blocking: a named pipe would keep whoever opens it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise CheckpointError(f"{path} cannot be read: it is not a regular file.")
            return file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error


def verified(body: bytes, *, where: str) -> dict[str, Any]:
    """
    The content of a checkpoint, without its checksum.

    Raises:
        CheckpointError: too large, not valid JSON, altered, or of a newer version; the text names `where`.
    """
    if len(body) > MAX_BYTES:
        raise CheckpointError(f"{where} is more than a checkpoint can be ({MAX_BYTES:,} bytes).")
    table = _parse(body, where)
    if not isinstance(table, dict) or not isinstance(table.get("schema"), int):
        raise CheckpointError(f"{where} is not a vlm-runner checkpoint.")
    reader = table.get("min_reader")
    if not isinstance(reader, int) or reader > SCHEMA:
        raise NewerCheckpoint(
            f"{where} was written by a newer version (schema {table['schema']}, this one reads {SCHEMA}).",
            hint="Upgrade vlm-runner; nothing was changed.",
        )
    if not _sealed(body, table):
        raise CheckpointError(f"{where} is damaged: its checksum does not match its content.")
    return table


def refuse_another(found: str, wanted: str, *, where: str) -> None:
    """
    A checkpoint's run has the name of its folder: keys, file names and commands are made from that name.

    Raises:
        CheckpointError: it is another run's.
    """
    if found != wanted:
        raise CheckpointError(f"{where} holds another run, '{found}'.")


def _parse(body: bytes, where: str) -> Any:
    def no_constants(text: str) -> Any:
        raise ValueError(f"'{text}' is not valid JSON")

    try:
        found = json.loads(body.decode(), parse_constant=no_constants)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is not valid JSON: {type(error).__name__}.") from error
    if is_too_deep(found):
        raise CheckpointError(f"{where} is not a vlm-runner checkpoint: it is nested too deeply.")
    return found


def _sealed(body: bytes, table: dict[str, Any]) -> bool:
    """Whether the checksum is right; removes it from `table`. Other spacing than ours takes the slow path."""
    stored = table.pop("sha256", None)
    seal = SEAL.search(body)
    if seal is not None and hashlib.sha256(body[: seal.start()] + b"}").hexdigest() == stored:
        return True
    return bool(hashlib.sha256(canonical(table).encode(errors="surrogatepass")).hexdigest() == stored)


def canonical(table: dict[str, Any], *, numbers_only: bool = False) -> str:
    """
    The text that is signed: keys in order, no spaces.

    Raises:
        ValueError: with `numbers_only`, an infinity or NaN.
    """
    return json.dumps(
        table, ensure_ascii=False, allow_nan=not numbers_only, separators=(",", ":"), sort_keys=True
    )
