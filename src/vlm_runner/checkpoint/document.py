"""
The checkpoint: one JSON document that holds the lease and the state of a run.

Because both live in one object, a holder that has lost its lease cannot save state: the save is the lease
check. Each body carries a fresh `write_id`, so that a writer whose answer was lost recognises its own write.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any, Final

from pydantic import Field, ValidationError

from vlm_runner.core.events import Entry, Value
from vlm_runner.core.run import Run
from vlm_runner.core.transitions import IllegalTransition, fold
from vlm_runner.errors import CheckpointError
from vlm_runner.spec import sentence

SCHEMA: Final = 1
"""What this version writes. It reads every older one, and a newer one whose `min_reader` allows it."""

MAX_BYTES: Final = 4 * 1024 * 1024


class Holder(Value, frozen=True):
    """Who drives the run. Only `id` decides anything; the rest is for people, and for `proves_dead`."""

    id: str
    host: str = ""
    pid: int = 0
    boot_id: str = ""
    pid_namespace: str = ""
    pid_started: str = ""
    version: str = ""


class Checkpoint(Value, frozen=True, populate_by_name=True):
    schema_version: int = Field(default=SCHEMA, alias="schema")
    min_reader: int = SCHEMA
    write_id: str
    previous_write_id: str | None = None
    epoch: int = 0
    """Grows with each take-over, and never shrinks."""
    holder: Holder | None = None
    saved_at: datetime | None = None
    """The last sign of life of whoever holds it, by its own clock: for people, and for no decision."""
    run: Run
    history: tuple[Entry, ...]


SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\s*$')
"""The end of what `to_bytes` writes."""


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Canonical JSON (keys in order, no spaces) with its own checksum as last field."""
    table = checkpoint.model_dump(mode="json", by_alias=True)
    table.pop("sha256", None)
    canonical = _canonical(table, numbers_only=True).encode()
    return b'%s,"sha256":"%s"}\n' % (canonical[:-1], hashlib.sha256(canonical).hexdigest().encode())


def from_bytes(body: bytes, *, where: str) -> Checkpoint:
    """
    Read what `to_bytes` wrote, distrusting every byte of it.

    Raises:
        CheckpointError: too large, no JSON, altered, from a newer version, or a history that does not fold
            into the run; the sentence names `where`.
    """
    if len(body) > MAX_BYTES:
        raise CheckpointError(f"{where} is {len(body)} bytes, more than a checkpoint can be ({MAX_BYTES}).")
    table = _parse(body, where)
    if not isinstance(table, dict) or not isinstance(table.get("schema"), int):
        raise CheckpointError(f"{where} is no vlm-runner checkpoint.")
    reader = table.get("min_reader")
    if not isinstance(reader, int) or reader > SCHEMA:
        raise CheckpointError(
            f"{where} was written by a newer version (schema {table['schema']}, this one reads {SCHEMA}).",
            hint="Upgrade vlm-runner; nothing was changed.",
        )
    if not _sealed(body, table):
        raise CheckpointError(f"{where} is damaged: its checksum does not match its content.")
    try:
        checkpoint = Checkpoint.model_validate(table)
        folded = fold(checkpoint.history)
    except ValidationError as error:
        raise CheckpointError(f"{where} does not fit the schema: {sentence(error)}.") from error
    except (IllegalTransition, TypeError, StopIteration) as error:
        raise CheckpointError(f"{where} tells an impossible history: {error}.") from error
    if folded != checkpoint.run:
        raise CheckpointError(f"{where} contradicts itself: its history does not lead to its state.")
    return checkpoint


def _parse(body: bytes, where: str) -> Any:
    def no_constants(text: str) -> Any:
        raise ValueError(f"'{text}' is no JSON")

    try:
        return json.loads(body.decode(), parse_constant=no_constants)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is no JSON: {type(error).__name__}.") from error


def _sealed(body: bytes, table: dict[str, Any]) -> bool:
    """Whether the checksum is right; takes it out of `table`. Only other people's spacing costs a detour."""
    told = table.pop("sha256", None)
    seal = SEAL.search(body)
    if seal is not None and hashlib.sha256(body[: seal.start()] + b"}").hexdigest() == told:
        return True
    canonical = _canonical(table).encode(errors="surrogatepass")
    return bool(hashlib.sha256(canonical).hexdigest() == told)


def _canonical(table: dict[str, Any], *, numbers_only: bool = False) -> str:
    """`numbers_only`: an infinity, or what is no number, raises ValueError."""
    return json.dumps(
        table, ensure_ascii=False, allow_nan=not numbers_only, separators=(",", ":"), sort_keys=True
    )
