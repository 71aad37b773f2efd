"""The checkpoint store: a port, with one implementation in each file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored document; `version` changes with every write and never recurs."""

    body: bytes
    version: str


class Replaced(Exception):
    """
    The stored version was not the expected one.

    Not proof that another process wrote: the answer to an earlier copy of the same write may have been
    lost below us. Read back, and compare the write id.
    """


class CheckpointStore(Protocol):
    """Run ids are path segments, checked by `vlm_runner.path_segment.path_segment` before they come here."""

    @property
    def uri(self) -> str:
        """Its address, for display."""

    async def prove(self) -> None:
        """
        To be called before the first run is created here.

        Raises:
            ConfigurationError: the store ignores the conditions of `write`.
        """

    def locate(self, run_id: str) -> str:
        """The address of this run's checkpoint, for display."""

    async def read(self, run_id: str) -> Stored | None: ...

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        """
        Write if the stored version is still `replacing` (None: if there is none); return the new version.

        Raises:
            Replaced: it was not, or AWS cannot say at the moment.
            AwsUnavailable: whether it was written is unknown, or (StoreUnavailable) the disk refused; the
                old document or the new one is there, whole.
        """

    async def delete(self, run_id: str) -> None:
        """
        Forget a run and its cancel mark; one that is not there is no error. Only for a run that is done.

        Raises:
            AwsUnavailable: it may still be there.
        """

    async def run_ids(self) -> list[str]:
        """
        Of all runs that are here, in order; other folders, whose names cannot be run ids, are none.

        Raises:
            CheckpointError, AwsUnavailable: they cannot be listed.
        """

    async def request_cancel(self, run_id: str, reason: str) -> None:
        """Leave a mark that the run's driver will find; a second mark changes nothing."""

    async def cancel_reason(self, run_id: str) -> str | None:
        """The mark's reason; None without a mark."""
