"""What `start`, `resume` and `cancel` do: apart from their options, so that --help does not import it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.cli import console
from vlm_runner.cli.confirm import Consent, confirm
from vlm_runner.cli.detached import say_detached
from vlm_runner.cli.foreground import drive_to_end
from vlm_runner.cli.options import split_flags
from vlm_runner.cli.resolve import settings_for, verifying
from vlm_runner.cli.run_text import already_over
from vlm_runner.cli.run_view import RunView
from vlm_runner.core.run import Phase
from vlm_runner.errors import UsageError
from vlm_runner.runner import Runner
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from vlm_runner.cli.options import Where
    from vlm_runner.core.run import Run
    from vlm_runner.runner import RunHandle
    from vlm_runner.settings import Settings


def start_run(
    spec_file: str,
    run_id: str | None,
    *,
    yes: bool,
    detach: bool,
    lint: bool,
    doctor: bool,
    timeout: float | None,
    verify: bool,
    **flags: Any,
) -> None:
    where, voice = split_flags(flags)
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(where, spec_region=spec.aws.region, ask_profile=True)
    settings = verifying(settings, verify=verify)
    consent = Consent(spec_file=spec_file, yes=yes, lint=lint, doctor=doctor)
    if detach:
        sys.exit(start_detached(settings, spec, run_id, where, consent, timeout=timeout, **voice))

    async def begin(runner: Runner) -> RunHandle:
        return await runner.resume(await create(runner, settings, spec, run_id, consent))

    sys.exit(drive_to_end(settings, begin, timeout=timeout, where=where, **voice))


def resume_run(run_id: str, until: str | None, *, timeout: float | None, verify: bool, **flags: Any) -> None:
    where, voice = split_flags(flags)
    try:
        last = Phase(until) if until else None
    except ValueError:
        raise UsageError(f"Unknown phase '{until}'; choose from {', '.join(Phase)}.") from None

    async def begin(runner: Runner) -> RunHandle:
        return await runner.resume(run_id, until=last)

    settings, partly = verifying(settings_for(where), verify=verify), last is not None
    sys.exit(drive_to_end(settings, begin, timeout=timeout, where=where, partly=partly, **voice))


def cancel_run(run_id: str, reason: str, *, detach: bool, **flags: Any) -> None:
    where, voice = split_flags(flags)
    settings = settings_for(where)

    async def mark(runner: Runner) -> Run:
        run = await runner.get(run_id)
        if not run.done:
            await runner.request_cancel(run_id, reason)
        return run

    if detach:

        async def only_mark() -> Run:
            async with Runner.open(settings) as runner:
                return await mark(runner)

        run = anyio.run(only_mark)
        if run.done:
            console.say(already_over(RunView.of(run), "there is nothing to cancel"))
            return
        again = shlex.join(["vlm-runner", "resume", run_id, *where.repeated(settings)])
        console.say(f"Cancellation requested: the driver of run {run_id} stops it. If it has none: {again}")
        return

    async def begin(runner: Runner) -> RunHandle:
        await mark(runner)
        return await runner.resume(run_id)

    sys.exit(drive_to_end(settings, begin, where=where, **voice))


async def create(
    runner: Runner, settings: Settings, spec: RunSpec, run_id: str | None, consent: Consent
) -> str:
    """The id of the run of `spec`, which is created, if it does not exist, once a person agrees."""
    created = await runner.prepare(spec, run_id=run_id)
    for agreed in await confirm(runner, settings, [created] if created is not None else [], consent):
        await runner.create(agreed)
    return await runner.id_of(spec, run_id)


def start_detached(
    settings: Settings,
    spec: RunSpec,
    run_id: str | None,
    where: Where,
    consent: Consent,
    *,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """
    Create the run here, so that what is wrong is said here, and drive it in a process of its own.

    Returns the exit code once that process drives the run, or has ended without.
    """

    async def begin() -> str:
        async with Runner.open(settings) as runner:
            return await create(runner, settings, spec, run_id, consent)

    words = ["--verify"] if settings.upload.verify else []
    words += ["--timeout", f"{timeout:g}s"] if timeout is not None else []
    name = anyio.run(begin)
    return say_detached(settings, name, where, words, as_json=as_json, quiet=quiet, verbose=verbose)
