"""
The checkpoint: one JSON document that holds the lease and the state of a run.

Because both live in one object, a holder that has lost its lease cannot save state: the save is the lease
check. Each body carries a fresh `write_id`, so that a writer whose answer was lost recognises its own write.
"""

from __future__ import annotations

import hashlib

from pydantic import AwareDatetime, Field, ValidationError

from vlm_runner.checkpoint.integrity import TRAINS, canonical, verified
from vlm_runner.core.events import Entry, Value
from vlm_runner.core.run import Run
from vlm_runner.core.transitions import IllegalTransition, fold
from vlm_runner.errors import CheckpointError
from vlm_runner.spec import sentence


class Holder(Value, frozen=True):
    """Who drives the run. Only `id` decides; the rest is for display, and for `is_dead`."""

    id: str
    host: str = ""
    pid: int = 0
    boot_id: str = ""
    pid_namespace: str = ""
    pid_started: str = ""
    version: str = ""


class Checkpoint(Value, frozen=True, populate_by_name=True):
    schema_version: int = Field(default=TRAINS, alias="schema")
    min_reader: int = TRAINS
    write_id: str
    previous_write_id: str | None = None
    epoch: int = 0
    """Grows with each takeover, and never shrinks."""
    holder: Holder | None = None
    saved_at: AwareDatetime | None = None
    """When the holder last saved, by its own clock. For display: no decision depends on it."""
    halted: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Why the last process stopped before the run was done, if by an error. For display, as above."""
    run: Run
    history: tuple[Entry, ...]


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Canonical JSON (keys in order, no spaces) with its own checksum as last field."""
    table = checkpoint.model_dump(mode="json", by_alias=True)
    table.pop("sha256", None)
    return sealed(canonical(table, numbers_only=True))


def sealed(canonical_text: str) -> bytes:
    """The document with its checksum, a last field."""
    text = canonical_text.encode()
    return b'%s,"sha256":"%s"}\n' % (text[:-1], hashlib.sha256(text).hexdigest().encode())


def from_bytes(body: bytes, *, where: str) -> Checkpoint:
    """
    Read what `to_bytes` wrote, trusting none of it.

    Raises:
        CheckpointError: too large, not valid JSON, altered, from a newer version, or a history that does not
            fold into the run; the sentence names `where`.
    """
    table = verified(body, where=where)
    try:
        checkpoint = Checkpoint.model_validate(table)
        folded = fold(checkpoint.history)
    except ValidationError as error:
        raise CheckpointError(f"{where} does not fit the schema: {sentence(error)}.") from error
    except (IllegalTransition, TypeError, StopIteration) as error:
        raise CheckpointError(f"{where} has an impossible history: {error}.") from error
    if folded != checkpoint.run:
        raise CheckpointError(f"{where} contradicts itself: its history does not lead to its state.")
    return checkpoint
