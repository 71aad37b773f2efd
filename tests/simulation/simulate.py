"""
One history from one seed: some processes fight for a run, and everything goes wrong.

The code under test is the real one: runner, driver, lease, steps. Only time, chance and AWS are ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from tests.crash.incidents import AMID_OTHERS, OBJECTS, strikes_amid_others
from vlm_runner.checkpoint.timing import LeaseSettings
from vlm_runner.errors import VlmRunnerError
from vlm_runner.testing import Crash, FakeBedrock, FakeClock, Fault, Plan, Process, World, run_virtual
from vlm_runner.testing.faults import CREATES, FREEZES, SIGNATURE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.checkpoint.document import Checkpoint

PROCESSES = 3
DISTURBED_FOR = (600.0, 1800.0, 3600.0)
"""Seconds after which nothing goes wrong any more, so that the run can end."""

LEASES = (
    {"time_to_live": 90, "renew_every": 20, "look_every": 5},
    {"time_to_live": 300, "renew_every": 70, "look_every": 20},
)
SWITCH = {"after": "1h", "role_arn": "arn:aws:iam::123456789012:role/switch"}
USUAL = (
    Fault.LOST,
    Fault.UNAVAILABLE,
    Fault.FREEZE_BEFORE,
    Fault.FREEZE_AFTER,
    Fault.CRASH_BEFORE,
    Fault.CRASH_AFTER,
)


@dataclass(slots=True)
class History:
    seed: int
    wrong: list[str]
    saved: list[Checkpoint] = field(repr=False)
    happened: Counter[str] = field(default_factory=Counter[str])

    @property
    def digest(self) -> str:
        """Of every checkpoint that was ever stored, byte for byte."""
        stored = "\n".join(checkpoint.model_dump_json() for checkpoint in self.saved)
        return hashlib.sha256(stored.encode()).hexdigest()


def simulate(seed: int, *, befalls: bool = False) -> History:
    """With `befalls`, the same processes, and incidents of tests/crash besides faults of their own calls."""
    chance = random.Random(seed)
    with seeded_uuids(seed):
        return run_virtual(lambda: _history(seed, chance, befalls=befalls))


@contextmanager
def seeded_uuids(seed: int) -> Iterator[None]:
    chance, real = random.Random(f"uuid {seed}"), uuid.uuid4
    uuid.uuid4 = lambda: uuid.UUID(int=chance.getrandbits(128), version=4)
    try:
        yield
    finally:
        uuid.uuid4 = real


def _world(chance: random.Random) -> World:
    bedrock = FakeBedrock(
        training_takes=chance.choice([30, 90, 300]),
        warming_takes=chance.choice([30, 200, 900]),
        token_memory=chance.choice([0, 30, 10_000]),
        visible_after=chance.choice([0, 0, 0, 20, 60]),
        job_ends=chance.choice(["Completed"] * 6 + ["Failed", "Stopped"]),
        endpoint_ends=chance.choice([""] * 6 + ["Failed"]),
    )
    serving: dict[str, object] = {"mode": chance.choice(["provisioned"] * 3 + ["on-demand"])}
    if chance.random() < 0.25:
        serving["dead_man_switch"] = SWITCH
    sections = {"test": {"rows": 1}, "serving": serving}
    world = World(bedrock=bedrock, store=chance.choice(["memory", "s3"]), **sections)
    lease = LeaseSettings(**chance.choice(LEASES))
    world.settings = world.settings.model_copy(update={"lease": lease})
    return world


async def _history(seed: int, chance: random.Random, *, befalls: bool) -> History:
    world = _world(chance)
    happened: Counter[str] = Counter()
    rate = chance.choice([0.01, 0.03, 0.08])
    until = anyio.current_time() + chance.choice(DISTURBED_FOR)
    cancelling = None
    if chance.random() < 0.4:
        cancelling = asyncio.get_running_loop().create_task(_cancel(world, chance.uniform(0, 1500)))
    with anyio.move_on_after(40_000) as patience:
        async with anyio.create_task_group() as group:
            for number in range(PROCESSES):
                # Rates are as wrong as the lease allows for, and offsets are any.
                # Only a switch needs the time of day, and AWS takes no requests from who is wrong by minutes.
                clock_rate, wrong_by = chance.uniform(0.96, 1.04), 300 if switched(world) else 1e5
                offset = chance.uniform(-wrong_by, wrong_by)
                slot = _Slot(world, number, random.Random(chance.random()), rate, until, happened)
                slot.befall = random.Random(f"befall {seed} {number}") if befalls else None
                group.start_soon(slot.live, clock_rate, offset)
    wrong = ["it does not end"] if patience.cancelled_caught else []
    await asyncio.sleep(SIGNATURE_SECONDS + 1)
    if cancelling is not None:
        cancelling.cancel()
    wrong += await world.violations()
    happened["jobs"] = world.bedrock.jobs_created
    happened["switches that struck"] = len(world.aws.scheduler.fired)
    happened["endpoints"] = world.bedrock.endpoints_created
    happened["saves"] = len(world.saved)
    happened["takeovers"] = sum(
        before.holder is not None and before.epoch < after.epoch
        for before, after in zip(world.saved, world.saved[1:], strict=False)
    )
    happened[f"outcome {(await world.outcome()).run.outcome}"] += 1
    return History(seed, wrong, world.saved, happened)


def switched(world: World) -> bool:
    return world.spec.serving.dead_man_switch is not None


async def _cancel(world: World, after: float) -> None:
    await asyncio.sleep(after)
    await world.cancel()


@dataclass
class _Slot:
    """Processes, one after another; each dies in its own way until `until`, and the last one finishes."""

    world: World
    number: int
    chance: random.Random
    rate: float
    until: float
    happened: Counter[str]
    befall: random.Random | None = None

    async def live(self, clock_rate: float, offset: float) -> None:
        while True:
            clock = FakeClock(seed=self.chance.getrandbits(32), rate=clock_rate, offset=offset)
            process, repairs = Process(clock=clock), list[Callable[[], None]]()
            process.plan = Plan(choose=self._chooser(process, repairs))
            try:
                run = await self.world.live(process)
                if run.done:
                    return
            except Crash:
                self.happened["kills"] += 1
            except VlmRunnerError as error:
                self.happened[type(error).__name__] += 1
            finally:
                for repair in reversed(repairs):
                    repair()
            await asyncio.sleep(self.chance.uniform(0, 90))

    def _chooser(self, process: Process, repairs: list[Callable[[], None]]) -> Callable[[str], Fault | None]:
        def choose(call: str) -> Fault | None:
            self._strike(process, repairs)
            creates = call.rpartition(".")[2] in CREATES
            rate = min(0.5, self.rate * 10) if creates else self.rate
            if anyio.current_time() > self.until or self.chance.random() > rate:
                return None
            extra = (Fault.LATE, Fault.DELAYED, Fault.FREEZE_CRASH) if creates else (Fault.STOP,)
            fault: Fault = self.chance.choice((*USUAL, *extra))
            self.happened[fault.value] += 1
            if fault in FREEZES:
                asyncio.get_running_loop().call_later(self.chance.choice([5, 100, 400, 2000]), process.thaw)
            return fault

        return choose

    def _strike(self, process: Process, repairs: list[Callable[[], None]]) -> None:
        """Once in a while, and one thing at a time: it is repaired when the process has ended."""
        chance = self.befall
        if chance is None or repairs or anyio.current_time() > self.until or chance.random() > self.rate:
            return
        there = [
            [incident for incident in kind if strikes_amid_others(incident, self.world)]
            for kind in (AMID_OTHERS, OBJECTS)
        ]
        incident = chance.choice(chance.choice([kind for kind in there if kind]))
        self.happened[incident.name] += 1
        if (repair := incident.strike(self.world, process)) is not None:
            repairs.append(repair)
