"""
What befalls a run besides faults of its own calls: others write over its objects, its checkpoint is lost, its
clock jumps, its credentials turn bad.

Each strikes at one call of a process, and is repaired once that process has ended.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vlm_runner.checkpoint.base import Stored
from vlm_runner.checkpoint.document import from_bytes, to_bytes
from vlm_runner.checkpoint.integrity import MAX_BYTES
from vlm_runner.checkpoint.local import version_of
from vlm_runner.core.transitions import fold
from vlm_runner.errors import AccessDenied, AwsRefused, AwsUnavailable, CredentialsError, VlmRunnerError
from vlm_runner.testing.world import STATE_BUCKET

if TYPE_CHECKING:
    from vlm_runner.testing import Process, World

Repair = Callable[[], None]

AWAY = 40 * 60.0
"""Seconds: longer than anything that is not a release is retried."""
THEIRS = b"somebody else wrote this"


@dataclass(frozen=True, slots=True)
class Incident:
    name: str
    strike: Callable[[World, Process], Repair | None]
    """None where it would change nothing."""
    may_fail: bool = True
    """It may end the run, released and with its reason."""
    matters: Callable[[World], bool] = lambda _: True
    """Whether there is something that it would change."""

    def __str__(self) -> str:
        return self.name


def kind_of(key: str) -> str:
    """Objects that differ by a number or a digest only are of one kind."""
    return re.sub(r"\d+", "0", re.sub(r"[0-9a-f]{8,}", "H", key))


def objects_of(world: World) -> dict[str, tuple[str, str]]:
    """Of each kind of object outside of the checkpoints, the first one: its bucket and key."""
    found: dict[str, tuple[str, str]] = {}
    for bucket, objects in world.aws.s3.buckets.items():
        if bucket != STATE_BUCKET:
            for key in sorted(objects):
                found.setdefault(kind_of(key), (bucket, key))
    return found


def overwritten(kind: str) -> Incident:
    def strike(world: World, _: Process) -> Repair | None:
        if kind not in (there := objects_of(world)):
            return None
        bucket, key = there[kind]
        objects = world.aws.s3.buckets[bucket]
        before = objects[key]
        objects[key] = THEIRS

        def repair() -> None:
            if objects.get(key) == THEIRS:
                objects[key] = before

        return repair

    return Incident(f"{kind} overwritten", strike, matters=lambda world: kind in objects_of(world))


def deleted(kind: str) -> Incident:
    def strike(world: World, _: Process) -> Repair | None:
        if kind not in (there := objects_of(world)):
            return None
        bucket, key = there[kind]
        objects = world.aws.s3.buckets[bucket]
        before = objects.pop(key)

        def repair() -> None:
            objects.setdefault(key, before)

        return repair

    return Incident(f"{kind} deleted", strike, matters=lambda world: kind in objects_of(world))


class Document:
    """The stored checkpoint of a world's run, whatever its store."""

    def __init__(self, world: World) -> None:
        self._world = world
        inner = getattr(world.store, "_store", None)
        self._memory = getattr(inner, "_documents", None)
        self._path = (
            None if inner is None or self._memory is not None else Path(world.store.locate(world.run_id))
        )
        self._key = f"vr/runs/{world.run_id}/state.json"

    @property
    def body(self) -> bytes | None:
        if self._memory is not None:
            found = self._memory.get(self._world.run_id)
            return None if found is None else bytes(found.body)
        if self._path is not None:
            return self._path.read_bytes() if self._path.exists() else None
        return self._world.aws.s3.buckets[STATE_BUCKET].get(self._key)

    @body.setter
    def body(self, body: bytes | None) -> None:
        if self._memory is not None:
            self._memory.pop(self._world.run_id, None)
            if body is not None:
                self._memory[self._world.run_id] = Stored(body, f"theirs-{version_of(body)}")
        elif self._path is not None:
            self._path.unlink(missing_ok=True)
            if body is not None:
                self._path.write_bytes(body)
        else:
            objects = self._world.aws.s3.buckets[STATE_BUCKET]
            objects.pop(self._key, None)
            if body is not None:
                objects[self._key] = body


def checkpoint(name: str, change: Callable[[bytes], bytes | None]) -> Incident:
    """Repaired, what was saved last is there again, unless the process has written it again itself."""

    def strike(world: World, _: Process) -> Repair | None:
        document = Document(world)
        if (before := document.body) is None:
            return None
        theirs = change(before)
        if theirs == before:
            return None
        document.body = theirs

        def repair() -> None:
            if document.body == theirs:
                document.body = before

        return repair

    return Incident(f"checkpoint {name}", strike, matters=lambda world: Document(world).body is not None)


def _anothers(body: bytes) -> bytes:
    """
    A sound document of a run with the same id, and nothing else in common, that another machine drives.

    The same as before until a process drives the run that is there: it would go on with whatever it finds.
    """
    there = from_bytes(body, where="a test")
    if there.holder is None:
        return body
    created = there.run.created.model_copy(update={"uid": "f" * len(there.run.uid)})
    first = there.history[0].model_copy(update={"event": created})
    fresh: dict[str, object] = {"write_id": "e" * 32, "previous_write_id": None}
    fresh |= {"history": (first,), "run": fold([first])}
    fresh["holder"] = there.holder.model_copy(update={"id": "e" * 32, "host": "elsewhere"})
    return to_bytes(there.model_copy(update=fresh))


def clock(name: str, seconds: float) -> Incident:
    def strike(_: World, process: Process) -> Repair:
        process.clock.set_forward(seconds)
        return lambda: None

    return Incident(f"clock set {name}", strike)


def refusing(name: str, error: Callable[[str], Exception], *, stores: bool) -> Incident:
    """For a while each call of the process is refused; with `stores`, those of its checkpoints alone."""

    def strike(_: World, process: Process) -> Repair:
        until, choose = asyncio.get_running_loop().time() + AWAY, process.plan.choose

        def refuse(call: str) -> None:
            of_store = call.startswith(("store.", "state."))
            # A folder needs no credentials.
            concerned = of_store if stores else not call.startswith("store.")
            if concerned and asyncio.get_running_loop().time() < until:
                raise error(f"{call} (a test's incident)")
            choose(call)

        process.plan.choose = refuse
        return lambda: None

    return Incident(name, strike)


def at_length(name: str, kind: type[VlmRunnerError]) -> Incident:
    """One call fails with more words than a checkpoint holds."""

    def strike(_: World, __: Process) -> Repair:
        raise kind("x" * MAX_BYTES)

    return Incident(name, strike)


def _forgotten(world: World, _: Process) -> Repair | None:
    """Somebody deletes the endpoint."""
    for arn in world.bedrock.alive:
        world.bedrock.forget_endpoint(arn)
        return lambda: None
    return None


def _rented(world: World) -> bool:
    return bool(world.bedrock.alive)


def _untagged(world: World, _: Process) -> Repair | None:
    """Somebody takes the tags off what is rented."""
    if not world.bedrock.alive:
        return None
    tags = world.bedrock.tags_of(world.bedrock.alive[0])
    before = dict(tags)
    tags.clear()
    return lambda: tags.update(before)


CHECKPOINTS = (
    checkpoint("deleted", lambda _: None),
    checkpoint("cut in half", lambda body: body[: len(body) // 2]),
    checkpoint("replaced by another run's", _anothers),
    refusing("store away for 40 minutes", AwsUnavailable, stores=True),
)
"""Each as it is for its store; `refusing` as S3 and a network folder do."""
CREDENTIALS = (
    refusing("credentials refused for 40 minutes", CredentialsError, stores=False),
    refusing("access denied for 40 minutes", AccessDenied, stores=False),
)
"""The eight ways in which they turn bad are of these two kinds: tests/runner/test_bad_credentials.py."""
CLOCKS = (clock("back by three hours", -3 * 3600), clock("ahead by 26 hours", 26 * 3600))
ENDPOINTS = (
    Incident("endpoint deleted", _forgotten, matters=_rented),
    Incident("tags taken away", _untagged, matters=_rented),
)
FLOODS = (at_length("refused at length", AwsRefused), at_length("unavailable at length", AwsUnavailable))
INCIDENTS = (*CHECKPOINTS, *CREDENTIALS, *CLOCKS, *ENDPOINTS, *FLOODS)
ALONE: Final = {"checkpoint deleted", "checkpoint replaced by another run's"}
"""Not while others contend: who starts then finds no run, or another one, and drives that."""
AMID_OTHERS: Final = [incident for incident in INCIDENTS if incident.name not in ALONE]


def strikes_amid_others(incident: Incident, world: World) -> bool:
    """It would change something; and a dead man's switch needs the time of day."""
    switched = world.spec.serving.dead_man_switch is not None
    return incident.matters(world) and not (switched and incident in CLOCKS)


KINDS: Final = (
    "data/train.jsonl",
    "data/train/content.json",
    "data/train/images/0.json",
    "data/train/shards-H/0-0-0-H.jsonl",
    "images/train/0.png",
    "runs/cats-H/answers.jsonl",
    "runs/cats-H/answers/base/0.json",
    "runs/cats-H/answers/tuned/0.json",
    "runs/cats-H/report.html",
    "runs/cats-H/report.json",
    "runs/cats-H/results.jsonl",
    "runs/cats-H/thumbnails.jsonl",
)
"""Of all objects that a run makes outside of its checkpoint."""
OBJECTS: Final = [change(kind) for kind in KINDS for change in (overwritten, deleted)]
