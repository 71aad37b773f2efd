"""The store of checkpoints: a port with an implementation a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it lies in the store; `version` changes with every write and never comes back."""

    body: bytes
    version: str


class Replaced(Exception):
    """
    The stored version was not the expected one.

    Not proof that somebody else wrote: the answer to an earlier copy of the same write may have been
    lost below us. Read back, and compare the write id.
    """


class CheckpointStore(Protocol):
    """Run ids are path segments, checked by `vlm_runner.path_segment.path_segment` before they come here."""

    @property
    def uri(self) -> str:
        """Where it is, for people."""

    async def prove(self) -> None:
        """
        To be called before the first run is created here.

        Raises:
            ConfigurationError: the store does not keep the conditions of `write`.
        """

    def locate(self, run_id: str) -> str:
        """Where the checkpoint of this run is, for people."""

    async def read(self, run_id: str) -> Stored | None: ...

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        """
        Write if the stored version is still `replacing` (None: if there is none); return the new version.

        Raises:
            Replaced: it was not, or AWS cannot tell at the moment.
            AwsUnavailable: whether it was written is unknown, or (StoreUnavailable) the disk refused; the
                old document or the new one is there, whole.
        """

    async def run_ids(self) -> list[str]: ...

    async def request_cancel(self, run_id: str, reason: str) -> None:
        """Leave a mark that any driver of the run will find; a second mark changes nothing."""

    async def cancel_reason(self, run_id: str) -> str | None:
        """The mark's reason, or None where there is no mark."""
