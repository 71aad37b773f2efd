"""
Where CloudEvents go: a file, a webhook, EventBridge, SNS. A sink that is slow or fails harms no run.

Each sink has a queue and a task of its own, so that events keep their order. What a process had not sent
when it died is not sent again: receivers that must not miss anything read `vlm-runner events RUN --after N`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import structlog
from anyio import to_thread

from vlm_runner.watch.cloudevents import envelope, to_json
from vlm_runner.watch.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectSendStream

    from vlm_runner.clock import Clock
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal
    from vlm_runner.settings import EventSettings
    from vlm_runner.spec import EventsSpec

log = structlog.get_logger("vlm_runner")

MOST_WAITING: Final = 10_000
DRAIN_SECONDS: Final = 10.0
"""For what is still to be sent when a runner closes; ECS kills 30 seconds after it asks."""


class Sink(Protocol):
    async def send(self, event: dict[str, Any]) -> None: ...

    async def close(self) -> None: ...


class Notifier(Protocol):
    """What sends to AWS; see `vlm_runner.aws.notifications`."""

    async def put_event(self, bus: str, event: dict[str, Any]) -> None: ...

    async def publish(self, topic_arn: str, event: dict[str, Any]) -> None: ...


class FileSink:
    """JSON lines, appended; `-` is stdout."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def send(self, event: dict[str, Any]) -> None:
        await to_thread.run_sync(self._write, to_json(event) + "\n")

    def _write(self, line: str) -> None:
        if self._path == "-":
            sys.stdout.write(line)
            sys.stdout.flush()
            return
        with open(self._path, "a", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a user's path
            file.write(line)

    async def close(self) -> None:
        pass


class EventBridgeSink:
    def __init__(self, bus: str, announcer: Notifier) -> None:
        self._bus, self._announcer = bus, announcer

    async def send(self, event: dict[str, Any]) -> None:
        await self._announcer.put_event(self._bus, event)

    async def close(self) -> None:
        pass


class SnsSink:
    def __init__(self, topic_arn: str, announcer: Notifier) -> None:
        self._topic_arn, self._announcer = topic_arn, announcer

    async def send(self, event: dict[str, Any]) -> None:
        await self._announcer.publish(self._topic_arn, event)

    async def close(self) -> None:
        pass


class EventSinks:
    """A watcher that sends to all sinks that the settings and each run's spec name."""

    def __init__(
        self,
        settings: EventSettings,
        group: TaskGroup,
        clock: Clock,
        announcer: Callable[[str], Notifier],
    ) -> None:
        self._settings, self._group, self._clock = settings, group, clock
        self._announcer = announcer
        self._queues: dict[tuple[str, str, str], MemoryObjectSendStream[dict[str, Any]]] = {}
        self._unsent = 0
        self._all_sent = anyio.Event()

    def on_entry(self, run: Run, entry: Entry) -> None:
        targets = self._targets(run)
        if not targets:
            return
        event = envelope(run, entry)
        for target in targets:
            if target not in self._queues:
                self._queues[target] = self._begin(target)
            try:
                self._queues[target].send_nowait(event)
            except anyio.WouldBlock:
                log.warning("event.lost", sink=target[0], id=event["id"], reason="too many are waiting")
            else:
                self._unsent += 1

    def on_signal(self, run_id: str, signal: Signal) -> None:
        pass

    async def close(self) -> None:
        """Send what is waiting, for a while, and let go."""
        if self._unsent:
            with anyio.move_on_after(DRAIN_SECONDS, shield=True):
                await self._all_sent.wait()
        for queue in self._queues.values():
            queue.close()
        if self._unsent:
            log.warning("event.lost", count=self._unsent, reason="the process ends")

    def _targets(self, run: Run) -> list[tuple[str, str, str]]:
        found: dict[tuple[str, str, str], None] = {}
        given: tuple[EventsSpec | EventSettings, ...] = (run.spec.events, self._settings)
        for wanted in given:
            for kind, where in (
                ("file", wanted.file),
                ("webhook", wanted.webhook),
                ("eventbridge", wanted.event_bus),
                ("sns", wanted.sns_topic_arn),
            ):
                if where is not None:
                    aws = kind in {"eventbridge", "sns"}
                    found[kind, where, run.region if aws else ""] = None
        return list(found)

    def _begin(self, target: tuple[str, str, str]) -> MemoryObjectSendStream[dict[str, Any]]:
        send, receive = anyio.create_memory_object_stream[dict[str, Any]](MOST_WAITING)
        sink = self._sink(*target)

        async def work() -> None:
            try:
                async with receive:
                    async for event in receive:
                        await self._send(target[0], sink, event)
            finally:
                with anyio.CancelScope(shield=True):
                    await sink.close()

        self._group.start_soon(work, name=f"events to {target[0]}")
        return send

    def _sink(self, kind: str, where: str, region: str) -> Sink:
        if kind == "file":
            return FileSink(where)
        if kind == "webhook":
            secret = self._settings.webhook_secret
            return Webhook(where, secret.get_secret_value() if secret is not None else None, self._clock)
        if kind == "eventbridge":
            return EventBridgeSink(where, self._announcer(region))
        # The topic's own region, which may be another one.
        return SnsSink(where, self._announcer(where.split(":")[3]))

    async def _send(self, kind: str, sink: Sink, event: dict[str, Any]) -> None:
        try:
            await sink.send(event)
        except Exception as error:  # noqa: BLE001 - a listener's trouble is not the run's
            log.warning("event.lost", sink=kind, id=event["id"], reason=str(error) or repr(error))
        finally:
            self._unsent -= 1
            if not self._unsent:
                self._all_sent.set()
                self._all_sent = anyio.Event()
