"""What makes thousands of histories affordable, and changes none of them."""

from __future__ import annotations

import contextlib
import gc
from functools import lru_cache
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from vlm_runner.checkpoint import document, lease, local, process_identity
from vlm_runner.checkpoint.integrity import canonical
from vlm_runner.core.events import Value
from vlm_runner.core.run import Run
from vlm_runner.testing import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.checkpoint.document import Checkpoint

REMEMBERED = 256
"""Checkpoints: those that the processes of one history still read."""


@contextlib.contextmanager
def shortcuts(*, trusting: bool = False) -> Iterator[None]:
    """
    As `read_once`; what a history leaves is collected after it, rather than looked at time and again while it
    lasts; and nobody asks the kernel who is alive, or for a lock.

    All processes of a virtual world are this one: the kernel would always say yes, and what does not await
    needs no lock.
    """
    usual = gc.get_threshold()
    # What other tests have left is not looked at by any further collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000)
    with (
        read_once(trusting=trusting),
        patch.object(process_identity, "is_dead", lambda _: False),
        patch.object(local, "FileLock", lambda *_, **__: contextlib.nullcontext()),
    ):
        yield
    gc.set_threshold(*usual)


@contextlib.contextmanager
def read_once(*, trusting: bool = False) -> Iterator[None]:
    """
    Within, what a process reads is parsed and checked once, and what the world only records is not; and an
    event is written as JSON once.

    With `trusting`, what was written is not parsed at all: that reading undoes writing is for other tests to
    prove.
    """
    memory = Memory(trusting=trusting)
    with (
        patch.object(lease, "from_bytes", memory.from_bytes),
        patch.object(world, "from_bytes", memory.recorded),
        patch.object(lease, "to_bytes", memory.to_bytes),
    ):
        yield


@pytest.fixture(autouse=True)
def checkpoints_read_once() -> Iterator[None]:
    """For a conftest of tests that let runs live in virtual time: reading is half of their CPU or more."""
    with read_once():
        yield


class Memory:
    """What the processes of one virtual world wrote, and what they read."""

    def __init__(self, *, trusting: bool) -> None:
        self._trusting = trusting
        self._written: dict[bytes, Checkpoint] = {}
        self._texts: dict[int, tuple[Value, str]] = {}
        self._parse = lru_cache(REMEMBERED)(document.from_bytes)

    def to_bytes(self, checkpoint: Checkpoint) -> bytes:
        """The bytes that `document.to_bytes` makes; `tests/checkpoint/test_document.py` proves it."""
        body = document.sealed(self._text_of_all(checkpoint))
        self._written[body] = checkpoint
        if len(self._written) > REMEMBERED:
            del self._written[next(iter(self._written))]
        return body

    def from_bytes(self, body: bytes, *, where: str) -> Checkpoint:
        """As a process reads it."""
        found = self._written.get(body) if self._trusting else None
        return found or self._parse(body, where=where)

    def recorded(self, body: bytes, *, where: str) -> Checkpoint:
        """As the world keeps it; the last one is read as a process would."""
        found = self._written.get(body) if where == "a save" else None
        return found or self.from_bytes(body, where=where)

    def _text_of_all(self, value: Value) -> str:
        """Canonical JSON, of the texts of the values within: most were written before, and none changes."""
        texts: dict[str, str] = {}
        rest = set()
        for name, member in value:
            if isinstance(member, Value):
                texts[name] = self._text(member)
            elif name == "history":
                texts[name] = "[" + ",".join(map(self._text, member)) + "]"
            else:
                rest.add(name)
        table = value.model_dump(mode="json", by_alias=True, include=rest)
        for name, member in table.items():
            texts[name] = "null" if member is None else canonical(member, numbers_only=True)
        return "{" + ",".join(f'"{name}":{texts[name]}' for name in sorted(texts)) + "}"

    def _text(self, value: Value) -> str:
        # Kept with the value, whose id would else be another's one day.
        found = self._texts.get(id(value))
        if found is None:
            # A run is made of its events, and a renewed lease saves the same run again.
            text = (
                self._text_of_all(value)
                if isinstance(value, Run)
                else canonical(value.model_dump(mode="json", by_alias=True), numbers_only=True)
            )
            found = self._texts[id(value)] = value, text
        return found[1]
