"""
Driving a sweep: each run as usual, but limited where runs would compete for a quota.

The sweep itself stores nothing: its runs derive from its file, and each has its own checkpoint. So a sweep
that died is continued by starting it again.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import structlog

from vlm_runner.checkpoint import lease
from vlm_runner.clock import SystemClock
from vlm_runner.core.retry import SWEEP_QUOTA
from vlm_runner.core.run import Phase, Run
from vlm_runner.errors import QuotaExceeded, RunExists, RunNotFound, VlmRunnerError
from vlm_runner.retry import attempts
from vlm_runner.spec import ServingMode, seconds_of
from vlm_runner.sweep.compare import Result, ranked_by, since_best

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.clock import Clock
    from vlm_runner.core.events import RunCreated
    from vlm_runner.runner import Runner
    from vlm_runner.sweep.plan import Planned, Sweep

log = structlog.get_logger("vlm_runner")

PHASES = list(Phase)


class SweepDriver:
    """Made for one use: `prepare`, then `drive`."""

    def __init__(self, sweep: Sweep, runner: Runner, *, clock: Clock | None = None) -> None:
        self._sweep, self._runner = sweep, runner
        self._clock = clock or SystemClock()
        self._patience = seconds_of(sweep.spec.patience)
        self._staging = {planned.group: anyio.Lock() for planned in sweep.runs}
        self._jobs = anyio.Semaphore(sweep.spec.jobs)
        self._throughputs = anyio.Semaphore(sweep.spec.throughputs)
        self._created: dict[str, RunCreated] = {}
        self._finished: list[Result] = []

    async def prepare(self) -> list[RunCreated]:
        """
        Prepare the runs that do not exist yet; creates nothing.

        Raises:
            ConfigurationError, DataError, AwsRefused: one of the runs cannot work, so none is begun.
        """
        self._sweep = replace(self._sweep, runs=tuple([await self._begun(one) for one in self._sweep.runs]))
        found: list[RunCreated] = []
        for planned in self._sweep.runs:
            created = await self._runner.prepare(planned.spec, run_id=planned.run_id)
            if created is not None:
                found.append(created.model_copy(update={"sweep": self._sweep.spec.name}))
        return found

    async def _begun(self, planned: Planned) -> Planned:
        """`planned`, under the id and with the spec that an older version gave it where that began it."""
        for run_id, spec in planned.former:
            try:
                run = await self._runner.existing(spec, run_id=run_id)
            except RunExists:
                continue
            if run is not None:
                return replace(planned, run_id=run_id, spec=spec)
        return planned

    async def drive(self, created: list[RunCreated], on_result: Callable[[Result], None]) -> list[Result]:
        """Drive all runs to their end, in the order of the file; one that fails does not stop the others."""
        self._created = {one.run_id: one for one in created}
        results = [Result(planned) for planned in self._sweep.runs]
        async with anyio.create_task_group() as group:
            # Runs that already have a job or a throughput come first in the queue for them.
            for result in [one for _, one in sorted(await self._with_phases(results), key=lambda x: -x[0])]:
                group.start_soon(self._one, result, on_result, name=f"sweep {result.planned.run_id}")
                await anyio.lowlevel.checkpoint()
        return results

    async def _with_phases(self, results: list[Result]) -> list[tuple[int, Result]]:
        found: list[tuple[int, Result]] = []
        for result in results:
            try:
                checkpoint, _ = await lease.load(self._runner.store, result.planned.run_id)
                found.append((PHASES.index(checkpoint.run.phase), result))
            except RunNotFound:
                found.append((0, result))
        return found

    async def _one(self, result: Result, on_result: Callable[[Result], None]) -> None:
        if self._sweep.spec.stop_after is None:
            await self._run(result, self._jobs)
        else:
            # Whether it is begun at all is known when others have ended: each has its turn until its end.
            async with self._jobs:
                result.skipped = self._decided()
                if not result.skipped:
                    await self._run(result, nullcontext())
        on_result(result)

    async def _run(self, result: Result, turn: AbstractAsyncContextManager[object]) -> None:
        """Drive it to its end, training in its `turn`; what goes wrong is in `result`."""
        planned = result.planned
        try:
            await self._stage(planned)
            async with turn:
                await self._until(planned, Phase.TRAINING)
            result.run = await self._serve(planned)
            result.scores = await self._scores(result.run)
        except Exception as error:  # noqa: BLE001 - the other runs continue, and the result holds it
            result.error = error
        await self._look_again(result)
        self._finished.append(result)

    async def _stage(self, planned: Planned) -> None:
        """Create it unless it exists, and upload; one at a time of those that may share images."""
        async with self._staging[planned.group]:
            if (created := self._created.get(planned.run_id)) is not None:
                await self._runner.create(created)
            await self._until(planned, Phase.RECORDING)

    async def _serve(self, planned: Planned) -> Run:
        async with AsyncExitStack() as stack:
            if planned.spec.serving.mode is not ServingMode.NONE:
                await stack.enter_async_context(self._throughputs)
            return await self._until(planned, None)

    async def _scores(self, run: Run) -> dict[int, dict[str, float]]:
        try:
            return await self._runner.scores(run)
        except VlmRunnerError as error:
            # The run is over, and as good as it was; the comparison says that it has no value.
            log.warning("sweep.scores_not_read", run_id=run.run_id, reason=str(error))
            return {}

    def _decided(self) -> bool:
        """Whether the rest would hardly win: so many runs in a row were no better than the best."""
        most, metric = self._sweep.spec.stop_after, ranked_by(self._sweep.spec.metric, self._finished)
        return most is not None and since_best(self._finished, metric) >= most

    async def _look_again(self, result: Result) -> None:
        """Where it stands, and what it has cost, as its checkpoint says."""
        try:
            checkpoint, _ = await lease.load(self._runner.store, result.planned.run_id)
        except VlmRunnerError:
            return
        result.run = checkpoint.run
        result.money = self._runner.money(checkpoint.run, checkpoint.history)

    async def _until(self, planned: Planned, phase: Phase | None) -> Run:
        """Drive so far; a quota that is full is waited for, as long as the sweep has patience."""
        policy = replace(SWEEP_QUOTA, patience=self._patience)

        def on_retry(error: Exception) -> None:
            log.info("sweep.waits_for_quota", run_id=planned.run_id, reason=str(error))

        async for attempt in attempts(self._clock, policy, QuotaExceeded, on_retry=on_retry):
            with attempt:
                handle = await self._runner.resume(planned.run_id, until=phase)
                return await handle.result()
        raise AssertionError("attempts ends only by an error")
