"""
Whatever people, machines and AWS do to one run, in any order: Hypothesis chooses, and shrinks what
goes wrong.

The code under test is the real one: runner, driver, lease, steps. Time, AWS and the order of things are ours.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.crash.incidents import AMID_OTHERS, OBJECTS, Incident, Repair, strikes_amid_others
from tests.shortcuts import shortcuts
from vlm_runner.checkpoint.base import Replaced
from vlm_runner.checkpoint.document import from_bytes, to_bytes
from vlm_runner.errors import CheckpointError, VlmRunnerError
from vlm_runner.testing import Crash, FakeBedrock, FakeClock, Fault, Plan, Process, VirtualLoop, World
from vlm_runner.testing.faults import CREATES, FREEZES, ONLY_CREATES, SIGNATURE_SECONDS
from vlm_runner.testing.virtual import threads_inline

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vlm_runner.core.run import Run

AT_ONCE = 3
"""Processes that fight for the run."""
LONGEST = 200_000.0
"""Seconds, two days and more, in which an undisturbed process must end any run."""
SWITCH = {"after": "8h", "role_arn": "arn:aws:iam::123456789012:role/switch"}

SERVINGS: list[dict[str, Any]] = [
    {"mode": "provisioned"},
    {"mode": "on-demand"},
    {"mode": "provisioned", "keep": "2h"},
    {"mode": "provisioned", "dead_man_switch": SWITCH},
]


@dataclass
class Living:
    process: Process
    task: asyncio.Task[None]
    next_fault: Fault | None = None
    after_calls: int = 0
    next_strike: Callable[[], Repair | None] | None = None
    repairs: list[Repair] = field(default_factory=list[Repair])
    """Of what befell it: once it has ended."""

    def repair(self) -> None:
        while self.repairs:
            self.repairs.pop()()

    def fault(self, call: str) -> Fault | None:
        """The fault that waits, at the first call where it makes a difference; after what befalls it."""
        strike, self.next_strike = self.next_strike, None
        if strike is not None and (repair := strike()) is not None:
            self.repairs.append(repair)
        found, operation = self.next_fault, call.rpartition(".")[2]
        if found is None or (found in ONLY_CREATES and operation not in CREATES):
            return None
        if self.after_calls:
            self.after_calls -= 1
            return None
        self.next_fault = None
        return found


class RunMachine(RuleBasedStateMachine):
    """One run in one account; `teardown` lets it end undisturbed, and judges."""

    @initialize(
        serving=st.sampled_from(SERVINGS),
        store=st.sampled_from(["memory", "s3"]),
        training_takes=st.sampled_from([30, 300, 20_000]),
        warming_takes=st.sampled_from([0, 30, 1500]),
        token_memory=st.sampled_from([0, 60, 100_000]),
        visible_after=st.sampled_from([0, 30, 100]),
        job_ends=st.sampled_from(["Completed", "Completed", "Completed", "Failed"]),
        endpoint_ends=st.sampled_from(["", "", "", "Failed"]),
    )
    def begin(self, serving: dict[str, Any], store: str, **bedrock: Any) -> None:
        self.world = World(bedrock=FakeBedrock(**bedrock), store=store, serving=serving, test={"rows": 1})
        self.living: list[Living] = []
        self.stack = ExitStack()
        self.stack.enter_context(shortcuts())
        self.stack.enter_context(threads_inline())
        self.loop = self.stack.enter_context(asyncio.Runner(loop_factory=VirtualLoop))
        self.clocks = 0

    def wait(self, seconds: float) -> None:
        async def pass_time() -> None:
            await asyncio.sleep(seconds)

        self.run(pass_time())
        self.living = [one for one in self.living if not one.task.done()]

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(main)

    @precondition(lambda self: len(self.living) < AT_ONCE)
    @rule(rate=st.floats(0.97, 1.03))
    def start(self, rate: float) -> None:
        """Another process starts the run, or resumes it; each sees its own time."""
        self.clocks += 1

        async def spawn() -> Living:
            process = Process(clock=FakeClock(seed=self.clocks, rate=rate))
            one = Living(process, asyncio.get_running_loop().create_task(self._live(process)))
            one.task.add_done_callback(lambda _: one.repair())
            process.plan = Plan(choose=one.fault)
            return one

        self.living.append(self.run(spawn()))
        self.wait(0.01)

    async def _live(self, process: Process) -> None:
        try:
            await self.world.live(process)
        except (Crash, VlmRunnerError):
            return

    @rule(seconds=st.sampled_from([1, 20, 60, 110, 400, 1200, 7200, 40_000]))
    def time_passes(self, seconds: float) -> None:
        self.wait(seconds)

    @precondition(lambda self: self.living)
    @rule(fault=st.sampled_from([fault for fault in Fault if fault not in FREEZES]), data=st.data())
    def the_next_call_goes_wrong(self, fault: Fault, data: st.DataObject) -> None:
        self.one_of(data).next_fault = fault

    @precondition(lambda self: self.living)
    @rule(incident=st.sampled_from([*AMID_OTHERS, *OBJECTS]), data=st.data())
    def something_befalls_one(self, incident: Incident, data: st.DataObject) -> None:
        """At its next call, if there is then anything that it would change."""
        process = (one := self.one_of(data)).process

        def strike() -> Repair | None:
            may = strikes_amid_others(incident, self.world)
            return incident.strike(self.world, process) if may else None

        one.next_strike = strike

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        self.one_of(data).process.kill()
        self.wait(0.01)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def freeze(self, data: st.DataObject) -> None:
        self.one_of(data).process.freeze()

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def thaw(self, data: st.DataObject) -> None:
        self.one_of(data).process.thaw()
        self.wait(0.01)

    @precondition(lambda self: self.living)
    @rule(fault=st.sampled_from(sorted(FREEZES)), calls=st.integers(0, 12), data=st.data())
    def one_sleeps_while_another_takes_over(self, fault: Fault, calls: int, data: st.DataObject) -> None:
        """Before or after some call of its own, for longer than anybody waits."""
        sleeper = self.one_of(data)
        sleeper.next_fault, sleeper.after_calls = fault, calls
        self.wait(400)
        if len(self.living) < AT_ONCE:
            self.start(1.0)
        self.wait(2000)
        sleeper.process.thaw()
        self.wait(0.01)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """SIGTERM."""
        one = self.one_of(data)

        async def stop() -> None:
            (one.process.stop or one.process.kill)()

        self.run(stop())
        self.wait(0.01)

    @rule()
    def cancel(self) -> None:
        self.run(self.world.cancel())

    @rule()
    def the_lease_is_stolen(self) -> None:
        """Somebody takes the run over and dies at once; whoever drove it may be in the middle of anything."""

        async def steal() -> None:
            found = await self.world.store.read(self.world.run_id)
            if found is None:
                return
            try:
                there = from_bytes(found.body, where="the store")
            except CheckpointError:
                return  # cut in half
            fresh = {
                "write_id": uuid.uuid4().hex,
                "previous_write_id": there.write_id,
                "epoch": there.epoch + 1,
            }
            # Held by somebody who is gone: what the one before had in flight must be doubted.
            after = there.model_copy(update=fresh)
            try:
                await self.world.store.write(self.world.run_id, to_bytes(after), replacing=found.version)
            except Replaced:
                return

        self.run(steal())

    @rule()
    def somebody_deletes_the_endpoint(self) -> None:

        async def delete() -> None:
            for arn in self.world.bedrock.alive:
                self.world.bedrock.forget_endpoint(arn)

        self.run(delete())

    @precondition(lambda self: not self.living)
    @rule(at=st.integers(0, 400), mask=st.integers(1, 255))
    def the_checkpoint_is_damaged_and_restored(self, at: int, mask: int) -> None:
        """What cannot be believed is refused, and left as it is."""

        async def damage() -> None:
            store, run_id = self.world.store, self.world.run_id
            found = await store.read(run_id)
            if found is None:
                return
            body = bytearray(found.body)
            body[at % len(body)] ^= mask
            if bytes(body).split() == found.body.split():
                return
            version = await _raw(self.world, bytes(body), found.version)
            try:
                await self.world.live()
            except CheckpointError:
                pass
            else:
                raise AssertionError("a damaged checkpoint was taken")
            kept = await store.read(run_id)
            assert kept is not None
            assert kept.body == bytes(body)
            await _raw(self.world, found.body, version)

        self.run(damage())

    @invariant()
    def nothing_was_bought_twice(self) -> None:
        world = getattr(self, "world", None)
        if world is not None:
            assert world.bedrock.jobs_created <= 1
            assert len(world.bedrock.alive) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.judge()
        finally:
            self.stack.close()

    def judge(self) -> None:
        for one in self.living:
            one.next_fault = one.next_strike = None
            one.repair()
            one.process.thaw()
        run = self.run(asyncio.wait_for(self.ended(), LONGEST))
        wrong = self.run(self.world.violations())
        assert wrong == []
        assert run.done

    async def ended(self) -> Run:
        """Those that live may go on or lose; one that nobody disturbs ends the run; late requests arrive."""
        run = await self.world.live()
        await asyncio.gather(*(one.task for one in self.living))
        await asyncio.sleep(SIGNATURE_SECONDS + 1)
        return run

    def one_of(self, data: st.DataObject) -> Living:
        return data.draw(st.sampled_from(self.living))


async def _raw(world: World, body: bytes, replacing: str) -> str:
    """Past the recording, which would read it."""
    store = world.store
    inner = getattr(store, "_store", None)
    if inner is not None:
        version: str = await inner.write(world.run_id, body, replacing=replacing)
        return version
    s3, bucket = world.aws.s3, "checkpoints"
    written = s3.put_if(bucket, f"vr/runs/{world.run_id}/state.json", body, replacing)
    assert written is not None
    return written
