"""
Processes that die, stop, freeze, or are not answered, at any call that leaves them.

A `Process` stands between a runner and the world: each call through any of its ports is one point, numbered
from 0, and its `Plan` says what goes wrong at which.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.aws.fence import check_fence, set_fence
from vlm_runner.errors import AwsUnavailable, CredentialsError, UncertainCreate, VlmRunnerError
from vlm_runner.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from datetime import datetime

    from vlm_runner.aws.ports import Aws, Encryption
    from vlm_runner.checkpoint.base import CheckpointStore

CREATES = frozenset({"create_job", "create_endpoint"})

SIGNATURE_SECONDS = 299.0
"""A request that was signed is taken for five minutes (IAM user guide)."""


class Crash(BaseException):
    """The process is killed: whatever it calls after this raises it again."""


class Fault(StrEnum):
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    LOST = "answer lost"
    UNAVAILABLE = "not sent"
    LATE = "crash, and delivered late"
    DELAYED = "answer lost, and delivered late"
    STOP = "stop"
    FREEZE_BEFORE = "freeze before"
    FREEZE_AFTER = "freeze after"
    FREEZE_CRASH = "freeze before, crash after"
    NOT_AWS = "answered by a portal, and not sent"
    STALE = "one stale read"
    STALE_MINUTE = "stale reads for a minute"
    EXPIRED = "credentials expired"


FREEZES = frozenset({Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER, Fault.FREEZE_CRASH})
ONLY_CREATES = frozenset({Fault.LATE, Fault.DELAYED, Fault.FREEZE_CRASH, Fault.NOT_AWS})
"""Faults that make a difference only where something is bought."""
ONLY_READS = frozenset({Fault.STALE, Fault.STALE_MINUTE})
"""Faults that make a difference only where Bedrock is asked for what there is."""
READS = frozenset({"find_job", "find_model", "find_endpoint", "list_endpoints"})
STALE_SECONDS = 60.0


@dataclass(slots=True)
class Plan:
    """
    What goes wrong: `at` has a fault for a point's number.

    `choose` is asked about every other point, with the call's name; None means no fault.
    """

    at: Mapping[int, Fault] = field(default_factory=dict[int, Fault])
    choose: Callable[[str], Fault | None] = lambda _: None

    def fault(self, point: int, call: str) -> Fault | None:
        return self.at.get(point) or self.choose(call)


class Process:
    """One process of many that share a world; `trace` has the names of its calls, in order."""

    def __init__(self, plan: Plan | None = None, clock: FakeClock | None = None) -> None:
        self.plan = plan or Plan()
        self.clock = ProcessClock(self, clock or FakeClock())
        self.trace: list[str] = []
        self.dead = False
        self.stop: Callable[[], None] | None = None
        """What a SIGTERM does; while there is nothing yet to stop, the process dies of it."""
        self.frozen = asyncio.Event()
        """Set once the process has frozen."""
        self._running = asyncio.Event()
        self._running.set()
        self._stale_until = float("-inf")

    def thaw(self) -> None:
        self._running.set()

    def kill(self) -> None:
        self.dead = True
        self._running.set()

    def freeze(self) -> None:
        self._running.clear()
        self.frozen.set()

    async def alive(self) -> None:
        """Wait while frozen; raises Crash once dead."""
        await self._running.wait()
        if self.dead:
            raise Crash

    def wrap(self, port: Any, name: str) -> Any:
        """`port`, with every call a point of this process."""
        return _Wrapped(self, port, name)

    async def call(self, name: str, operation: str, send: Callable[[], Any]) -> Any:
        await self.alive()
        point = len(self.trace)
        self.trace.append(f"{name}.{operation}")
        fault = self.plan.fault(point, self.trace[-1])
        await self._before(fault, operation, send)
        try:
            answer = await send()
        except VlmRunnerError:
            if fault is Fault.LOST:
                raise _lost(operation) from None
            if fault in {Fault.CRASH_AFTER, Fault.FREEZE_CRASH}:
                self.kill()
            await self.alive()
            raise
        await self._after(fault, operation)
        return self._stale(fault, operation, answer)

    def _stale(self, fault: Fault | None, operation: str, answer: Any) -> Any:
        """What is found, or nothing: Bedrock promises no consistency of its reads."""
        now = asyncio.get_running_loop().time()
        if fault is Fault.STALE_MINUTE:
            self._stale_until = now + STALE_SECONDS
        if operation not in READS or not (fault in ONLY_READS or now < self._stale_until):
            return answer
        return [] if isinstance(answer, list) else None

    async def _before(self, fault: Fault | None, operation: str, send: Callable[[], Any]) -> None:
        match fault:
            case Fault.CRASH_BEFORE:
                self.kill()
            case Fault.LATE:
                self._deliver_late(operation, send)
                self.kill()
            case Fault.DELAYED:
                self._deliver_late(operation, send)
                raise _lost(operation)
            case Fault.FREEZE_BEFORE | Fault.FREEZE_CRASH:
                self.freeze()
            case Fault.UNAVAILABLE:
                raise AwsUnavailable(f"{operation}: 503 (a test's fault).")
            case Fault.NOT_AWS:
                raise _lost(operation)
            case Fault.EXPIRED:
                raise CredentialsError(f"{operation}: ExpiredToken (a test's fault).")
            case Fault.STOP if self.stop is not None:
                self.stop()
            case Fault.STOP:
                self.kill()
            case _:
                pass
        await self.alive()

    async def _after(self, fault: Fault | None, operation: str) -> None:
        if fault in {Fault.CRASH_AFTER, Fault.FREEZE_CRASH}:
            self.kill()
        elif fault is Fault.FREEZE_AFTER:
            self.freeze()
        elif fault is Fault.LOST:
            raise _lost(operation)
        await self.alive()

    def _deliver_late(self, operation: str, send: Callable[[], Any]) -> None:
        if operation not in CREATES:
            return
        check_fence()

        async def arrive() -> None:
            set_fence(None)
            await asyncio.sleep(SIGNATURE_SECONDS)
            try:
                await send()
            except VlmRunnerError:
                return

        self._arriving = asyncio.get_running_loop().create_task(arrive())


def _lost(operation: str) -> VlmRunnerError:
    kind = UncertainCreate if operation in CREATES else AwsUnavailable
    return kind(f"{operation}: no answer (a test's fault).")


class ProcessClock:
    """A frozen process does not notice how its sleeps pass."""

    def __init__(self, process: Process, clock: FakeClock) -> None:
        self._process, self._clock = process, clock

    def now(self) -> datetime:
        return self._clock.now()

    def set_forward(self, seconds: float) -> None:
        self._clock.set_forward(seconds)

    def elapsed(self) -> float:
        return self._clock.elapsed()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        await self._process.alive()

    def chance(self) -> float:
        return self._clock.chance()


class _Wrapped:
    def __init__(self, process: Process, port: Any, name: str) -> None:
        self._process, self._port, self._name = process, port, name

    def __getattr__(self, operation: str) -> Any:
        member = getattr(self._port, operation)
        flags = member.__code__.co_flags if inspect.ismethod(member) else 0
        if flags & inspect.CO_COROUTINE:

            async def call(*args: Any, **named: Any) -> Any:
                return await self._process.call(self._name, operation, lambda: member(*args, **named))

            return call
        if flags & inspect.CO_ASYNC_GENERATOR:

            async def each(*args: Any, **named: Any) -> AsyncIterator[Any]:
                async def whole() -> list[Any]:
                    return [item async for item in member(*args, **named)]

                for item in await self._process.call(self._name, operation, whole):
                    yield item

            return each
        return member


class ProcessAws:
    """All of AWS, as one process reaches it."""

    def __init__(self, process: Process, aws: Aws) -> None:
        self._process, self._aws = process, aws
        self.region = aws.region
        self.account = process.wrap(aws.account, "account")
        self.bedrock = process.wrap(aws.bedrock, "bedrock")
        self.runtime = process.wrap(aws.runtime, "runtime")
        self.scheduler = process.wrap(aws.scheduler, "scheduler")
        # Prices decide nothing that a crash could lose.
        self.prices = aws.prices

    def objects(self, bucket: str, *, owner: str | None, encryption: Encryption | None = None) -> Any:
        objects = self._aws.objects(bucket, owner=owner, encryption=encryption)
        return self._process.wrap(objects, "objects")


def store_of(process: Process, store: CheckpointStore) -> Any:
    return process.wrap(store, "store")


async def frozen(process: Process) -> None:
    """Until `process` has frozen."""
    with anyio.fail_after(7 * 86400):
        await process.frozen.wait()
