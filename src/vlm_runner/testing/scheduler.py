"""EventBridge Scheduler in memory: a schedule that is due deletes its endpoint, when anybody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from vlm_runner.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from vlm_runner.aws.ports import Deletion


class FakeScheduler:
    """
    `delete_by_name` says False where the endpoint cannot be deleted: then it is tried again.

    AWS's clock is right, whatever those of processes show.
    """

    def __init__(self, delete_by_name: Callable[[str], bool]) -> None:
        self.schedules: dict[str, Deletion] = {}
        self.fired: list[str] = []
        self._delete_by_name = delete_by_name
        self._clock = FakeClock()

    def settle(self) -> None:
        """Let what is due happen."""
        for name, deletion in list(self.schedules.items()):
            if deletion.due <= self._clock.now() and self._delete_by_name(deletion.endpoint_name):
                self.fired.append(name)
                del self.schedules[name]

    async def due(self, name: str) -> datetime | None:
        await checkpoint()
        self.settle()
        found = self.schedules.get(name)
        return None if found is None else found.due

    async def put(self, deletion: Deletion) -> None:
        await checkpoint()
        self.schedules[deletion.name] = deletion

    async def delete(self, name: str) -> None:
        await checkpoint()
        self.schedules.pop(name, None)
