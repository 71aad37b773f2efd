"""A runner that stays open from cell to cell."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from vlm_runner.doctor import BEFORE_DRIVING
from vlm_runner.doctor.run import run_doctor
from vlm_runner.errors import ConfigurationError
from vlm_runner.notebook.display import load_ipython_extension
from vlm_runner.notebook.kernel import shell_of_kernel
from vlm_runner.notebook.panel import follow
from vlm_runner.plan.refusal import refuse_bad, refuse_findings
from vlm_runner.runner import Runner
from vlm_runner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from vlm_runner.bus import Watcher
    from vlm_runner.core.run import Run
    from vlm_runner.doctor import Check
    from vlm_runner.doctor.checks import Part
    from vlm_runner.plan import Plan
    from vlm_runner.report.assemble import RunReport
    from vlm_runner.runner import RunHandle
    from vlm_runner.spec import RunSpec


class Session:
    """
    A runner for a notebook; made by `open_session`.

    anyio's task groups must be left by the task that entered them, and each cell is a task of its own: so
    the runner lives in a task of the session.
    """

    def __init__(
        self, runner: Runner, settings: Settings, closing: asyncio.Event, task: asyncio.Task[None]
    ) -> None:
        self._runner, self._settings, self._closing, self._task = runner, settings, closing, task

    @property
    def runner(self) -> Runner:
        return self._runner

    async def plan(self, spec: RunSpec, *, run_id: str | None = None, doctor: bool = True) -> Plan:
        """
        As `Runner.plan`, with what `vlm-runner doctor` finds of the account, role, bucket and quotas.

        Raises:
            As `Runner.plan`.
        """
        checks = await self._checks(spec, run_id) if doctor else []
        return replace(await self._runner.plan(spec, run_id=run_id), doctor=tuple(checks))

    async def start(
        self, spec: RunSpec, *, run_id: str | None = None, lint: bool = True, doctor: bool = True
    ) -> RunHandle:
        """
        As `vlm-runner start --yes`: look at all rows and at the account, and create and drive the run.

        Returns once the run is begun. A handle as the last value of a cell is a live panel.

        Raises:
            DataError: lint has errors (unless `lint` is False); nothing was created.
            ConfigurationError: what AWS says would end the run later (unless `doctor` is False), or the keys
                in S3 hold other content; nothing was created.
            As `Runner.start`.
        """
        created = await self._runner.prepare(spec, run_id=run_id)
        if created is not None:
            checks = await self._checks(spec, run_id, BEFORE_DRIVING) if doctor else []
            plan = self._runner.plan_of(await self._runner.preview(created))
            if lint:
                refuse_findings(
                    plan.report, hint="See notebook.lint(spec). To start anyway, give lint=False."
                )
            if plan.refusal:
                raise ConfigurationError(plan.refusal, hint="Nothing was created.")
            refuse_bad(
                checks,
                all_of_them="await session.plan(spec)",
                hint=lambda fix: f"{fix}To start anyway, give doctor=False.",
            )
            await self._runner.create(plan.created or created)
        return await self._runner.resume(await self._runner.id_of(spec, run_id))

    async def _checks(
        self, spec: RunSpec, run_id: str | None, parts: Sequence[Part] | None = None
    ) -> list[Check]:
        region = self._settings.region or spec.aws.region
        settings = self._settings.model_copy(update={"region": region})
        return await run_doctor(spec, settings, self._runner.catalogue, run_id, parts)

    async def run(
        self, spec: RunSpec, *, run_id: str | None = None, lint: bool = True, doctor: bool = True
    ) -> Run:
        """
        Start or continue the run of `spec`, and follow it to its end; see `start` and `follow`.

        Raises:
            As `start` and `RunHandle.result`.
        """
        return await follow(await self.start(spec, run_id=run_id, lint=lint, doctor=doctor))

    async def resume(self, run_id: str) -> Run:
        """
        Continue a run, and follow it to its end.

        Raises:
            As `Runner.resume` and `RunHandle.result`.
        """
        return await follow(await self._runner.resume(run_id))

    async def cancel(self, run_id: str, reason: str = "") -> None:
        """As `Runner.request_cancel`."""
        await self._runner.request_cancel(run_id, reason)

    async def report(self, run_id: str) -> RunReport:
        """As `Runner.report`; as the last value of a cell it is the report's page."""
        return await self._runner.report(run_id)

    async def close(self) -> None:
        """Stop driving: effects in flight are recorded, remote work goes on."""
        self._closing.set()
        await self._task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open_session(
    settings: Settings | None = None, *, watchers: Iterable[Watcher] = (), **parts: Any
) -> Session:
    """
    Open a runner that stays open until `Session.close`, and show the library's values richly.

    Without `settings`, they are those of the environment. `parts` are further arguments of `Runner.open`.

    Raises:
        ConfigurationError: see `Runner.open`.
    """
    if (shell := shell_of_kernel()) is not None:
        load_ipython_extension(shell)
    opened: asyncio.Future[Runner] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()

    given = settings or Settings.from_environment()

    async def hold() -> None:
        try:
            async with Runner.open(given, watchers=watchers, **parts) as runner:
                opened.set_result(runner)
                await closing.wait()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    task = asyncio.create_task(hold(), name="vlm-runner session")
    return Session(await opened, given, closing, task)
