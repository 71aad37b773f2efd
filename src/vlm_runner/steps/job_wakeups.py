"""
Ending a wait when AWS reports that a job has changed, instead of only when the timer is up.

A message is only a hint: it ends a sleep, and the Get that follows decides. So it does not matter whether
messages are lost, late, duplicated or forged.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import anyio

from vlm_runner.core.retry import QUEUE
from vlm_runner.errors import VlmRunnerError
from vlm_runner.retry import attempts

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.aws.queue import Message, Queue
    from vlm_runner.clock import Clock

LONG_POLL: Final = 20
"""Seconds; SQS allows no more (API reference, ReceiveMessage)."""

LONGEST_ASIDE: Final = 30
"""Seconds for which a message that is not for this process is hidden from the others."""

DETAIL_TYPE: Final = "Model Customization Job State Change"


class JobWakeups:
    """
    Ends a wait early when a message arrives about its ARN; `listen` must run at the same time.

    Many waits share one listener, and the queue is read only while something waits.
    """

    def __init__(self, queue: Queue, clock: Clock, on_trouble: Callable[[str], None]) -> None:
        self._queue, self._clock, self._on_trouble = queue, clock, on_trouble
        self._resting: dict[str, list[anyio.Event]] = {}
        self._known: set[str] = set()
        self._rung: set[str] = set()
        self._wanted = anyio.Event()

    async def rest(self, seconds: float, about: str) -> bool:
        """Sleep; True if it was cut short by a message about `about`."""
        self._known.add(about)
        if about in self._rung:
            self._rung.discard(about)
            return True
        rung = anyio.Event()
        self._resting.setdefault(about, []).append(rung)
        self._wanted.set()
        try:
            async with anyio.create_task_group() as group:

                async def woken() -> None:
                    await rung.wait()
                    group.cancel_scope.cancel()

                group.start_soon(woken)
                await self._clock.sleep(seconds)
                group.cancel_scope.cancel()
        finally:
            self._resting[about].remove(rung)
            if not self._resting[about]:
                del self._resting[about]
        return rung.is_set()

    async def listen(self) -> None:
        """Read the queue until cancelled. A missing or refusing queue is reported once, and retried."""
        while True:
            if not self._resting:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            reported = False
            async for attempt in attempts(self._clock, QUEUE, VlmRunnerError):
                with attempt:
                    for message in await self._queue.receive(LONG_POLL):
                        await self._take(message)
                if attempt.error is not None and not reported:
                    reported = True
                    self._on_trouble(f"{attempt.error} Job states are asked for by the timer instead.")

    async def _take(self, message: Message) -> None:
        about = subject(message.body)
        if about is None or about not in self._known:
            # Another process's, or not an event: its owner will find it, or it expires.
            await self._queue.put_back(message, min(LONGEST_ASIDE, message.received))
            return
        if resting := self._resting.get(about):
            for rung in resting:
                rung.set()
        else:
            self._rung.add(about)
        await self._queue.delete(message)


def subject(body: str) -> str | None:
    """The ARN of the customization job that an EventBridge message is about; None for any other body."""
    event: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        event = json.loads(body)
    if not isinstance(event, dict) or event.get("detail-type") != DETAIL_TYPE:
        return None
    detail = event.get("detail")
    arn = detail.get("jobArn") if isinstance(detail, dict) else None
    return arn if isinstance(arn, str) else None
