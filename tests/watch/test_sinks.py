"""Events for machines: their form, their way, and that no listener can harm a run."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import SecretStr

from vlm_runner.core.events import Event
from vlm_runner.core.phases import TRANSITIONS
from vlm_runner.errors import AwsRefused
from vlm_runner.redact import without_path
from vlm_runner.spec import RunSpec
from vlm_runner.testing import FakeClock, World
from vlm_runner.testing.world import tiny_spec
from vlm_runner.watch import sinks
from vlm_runner.watch.cloudevents import type_of
from vlm_runner.watch.sinks import EventSinks
from vlm_runner.watch.webhook import Undelivered, Webhook, signed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vlm_runner.settings import EventSettings

TOPIC = "arn:aws:sns:eu-west-1:123456789012:runs"


class Announcer:
    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.fails = False

    async def put_event(self, bus: str, event: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        if self.fails:
            raise AwsRefused("No such bus.")
        self.sent.append((bus, event))

    async def publish(self, topic_arn: str, event: dict[str, Any]) -> None:
        await self.put_event(topic_arn, event)


async def heard(world: World, settings: EventSettings, announcer: Callable[[str], Any]) -> None:
    """Live the world's run with these sinks watching."""
    async with anyio.create_task_group() as group:
        watcher = EventSinks(settings, group, FakeClock(), announcer)
        world.on_entry = watcher.on_entry  # type: ignore[method-assign]
        await world.live()
        await watcher.close()


def settings(**given: Any) -> EventSettings:
    from vlm_runner.settings import EventSettings

    return EventSettings(**given)


async def test_a_file_gets_every_entry_as_a_cloudevent_a_line(tmp_path: Path) -> None:
    world = World(events={"file": str(tmp_path / "events.jsonl")})
    async with world.runner() as runner:
        run = await (await runner.start(world.spec, run_id="cats")).result()

    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]

    assert [event["sequence"] for event in events] == [f"{n:08d}" for n in range(1, run.sequence + 1)]
    assert [event["id"] for event in events] == [f"{run.uid}/{n}" for n in range(1, run.sequence + 1)]
    assert events[0]["type"] == "io.vlm-runner.run.created"
    assert events[-1]["data"]["outcome"] == "succeeded"
    required = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
    assert all(required <= event.keys() and event["specversion"] == "1.0" for event in events)
    assert all(len(json.dumps(event)) < 256 * 1024 for event in events)


async def test_buses_and_topics_hear_in_order_in_their_own_regions() -> None:
    world = World()
    announcers: dict[str, Announcer] = {}

    both = settings(event_bus="runs", sns_topic_arn=TOPIC)
    await heard(world, both, lambda region: announcers.setdefault(region, Announcer()))

    assert announcers.keys() == {"us-east-1", "eu-west-1"}
    for announcer in announcers.values():
        numbers = [int(event["sequence"]) for _, event in announcer.sent]
        assert numbers == sorted(numbers)
        assert len(numbers) == (await world.outcome()).run.sequence


async def test_a_sink_that_fails_harms_no_run() -> None:
    world, announcer = World(), Announcer()
    announcer.fails = True

    await heard(world, settings(event_bus="nowhere"), lambda _: announcer)

    assert (await world.outcome()).run.outcome == "succeeded"


async def test_a_sink_that_hangs_holds_up_neither_the_run_nor_its_end() -> None:
    world = World()

    class Hanging(Announcer):
        async def put_event(self, bus: str, event: dict[str, Any]) -> None:
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        watcher = EventSinks(settings(event_bus="slow"), group, FakeClock(), lambda _: Hanging())
        world.on_entry = watcher.on_entry  # type: ignore[method-assign]
        began = anyio.current_time()
        run = await world.live()
        lived = anyio.current_time() - began
        await watcher.close()
        waited = anyio.current_time() - began - lived
        group.cancel_scope.cancel()

    assert run.outcome == "succeeded"
    assert waited == pytest.approx(sinks.DRAIN_SECONDS, abs=1)


class Receiver:
    """Stands where aiohttp's session does; `answers` are statuses, or errors to raise."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.got: list[tuple[bytes, dict[str, str]]] = []

    def post(self, url: str, *, data: bytes, headers: dict[str, str], allow_redirects: bool) -> Any:
        assert not allow_redirects
        self.got.append((data, headers))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return self._Answer(answer)

    class _Answer:
        def __init__(self, status: int) -> None:
            self.status = status

        async def __aenter__(self) -> Receiver._Answer:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass


def webhook(*answers: int | Exception, secret: str | None = "secret") -> tuple[Webhook, Receiver]:
    made, receiver = Webhook("https://example.invalid/hook", secret, FakeClock()), Receiver(*answers)
    made._session = receiver
    return made, receiver


async def test_a_webhook_is_tried_again_while_that_may_help() -> None:
    made, receiver = webhook(503, TimeoutError(), 429, 204)

    await made.send({"id": "uid/1"})

    assert len(receiver.got) == 4
    assert len({headers["webhook-id"] for _, headers in receiver.got}) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 410])
async def test_a_webhook_that_says_no_is_not_asked_again(status: int) -> None:
    made, receiver = webhook(status)

    with pytest.raises(Undelivered, match=str(status)):
        await made.send({"id": "uid/1"})
    assert len(receiver.got) == 1


async def test_a_webhook_is_given_up_at_last() -> None:
    made, receiver = webhook(*[500] * 6)

    with pytest.raises(Undelivered):
        await made.send({"id": "uid/1"})
    assert len(receiver.got) == 6


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("plain", b"plain"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
    ],
)
async def test_a_receiver_can_verify_the_signature(secret: str, key: bytes) -> None:
    made, receiver = webhook(200, secret=secret)
    await made.send({"id": "uid/1", "data": "ü"})
    body, headers = receiver.got[0]

    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()

    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """From the README of github.com/standard-webhooks/standard-webhooks, libraries."""
    body = b'{"test": 2432232314}'
    found = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_nothing_is_signed() -> None:
    assert "webhook-signature" not in signed("id", 0, b"", None)


def test_who_listens_does_not_make_another_run() -> None:
    assert tiny_spec().fingerprint == tiny_spec(events={"webhook": "https://example.com/x"}).fingerprint


async def test_the_address_of_a_webhook_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(events={"webhook": "https://example.com/T0KEN"})
    announcer = Announcer()
    monkeypatch.setattr("vlm_runner.watch.sinks.Webhook", lambda *_: _Deaf())

    await heard(world, settings(event_bus="runs"), lambda _: announcer)

    assert "T0KEN" not in json.dumps([event for _, event in announcer.sent])


@pytest.mark.parametrize(
    "address",
    ["/hook/SECRET", "/SECRET/a b/\u00fc?token=SECRET", "?token=SECRET", "#SECRET", "/\u00dfSECRET/%7E"],
)
@pytest.mark.parametrize("answered", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 204 x\r\nno header\r\n\r\n"])
async def test_why_a_webhook_did_not_take_it_is_said_without_its_address(
    address: str, answered: bytes
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answered)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    webhook = Webhook(f"http://127.0.0.1:{port}{address}", None, FakeClock())
    try:
        with pytest.raises(Undelivered) as caught:
            await webhook.send({"id": "uid/1"})
    finally:
        await webhook.close()
        server.close()

    assert "did not take it" in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("rest", ["", "/a/SECRET", "?SECRET", "#SECRET", "/?a=SECRET@x"])
def test_of_an_address_scheme_and_host_are_shown(rest: str) -> None:
    assert without_path(f"https://user:SECRET@example.com:8443{rest}") == "https://example.com:8443/\u2026"


class _Deaf:
    async def send(self, event: dict[str, Any]) -> None:
        pass

    async def close(self) -> None:
        pass


def test_every_kind_of_event_has_a_type_of_its_own() -> None:
    kinds = {kind for _, kind in TRANSITIONS}

    assert len({type_of(kind) for kind in kinds}) == len(kinds)
    assert type_of("job_submitted") == "io.vlm-runner.job.submitted"
    assert Event is not None


@pytest.mark.parametrize(
    "given", [{"webhook": "ftp://x"}, {"sns_topic_arn": "runs"}, {"webhook_secret": "x"}]
)
def test_a_spec_that_names_no_listener_is_refused(given: dict[str, str]) -> None:
    from vlm_runner.errors import ConfigurationError

    with pytest.raises(ConfigurationError):
        RunSpec.from_table(tiny_spec().model_dump(mode="json") | {"events": given})


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(settings(webhook_secret=SecretStr("hush")))
