"""start, resume, cancel."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.confirm import Consent, confirm
from vlm_runner.cli.detached import say_detached
from vlm_runner.cli.foreground import drive_to_end
from vlm_runner.cli.options import (
    Where,
    doctor_option,
    json_option,
    verbosity_options,
    verify_option,
    where_options,
)
from vlm_runner.cli.resolve import duration, settings_for, verifying
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.cli.run_text import already_over
from vlm_runner.cli.run_view import RunView
from vlm_runner.core.run import Phase
from vlm_runner.errors import UsageError
from vlm_runner.runner import Runner
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from vlm_runner.core.run import Run
    from vlm_runner.runner import RunHandle
    from vlm_runner.settings import Settings

TIMEOUT_HELP = "Stop after, e.g., 90m; the run can be resumed."


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option("--run-id", metavar="ID", help="The run's id. Default: derived from the spec.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "-d", "--detach", is_flag=True, help="Drive the run in the background, and return once it runs."
)
@click.option("--lint/--no-lint", default=True, help="Check every row before anything is created.")
@doctor_option
@click.option("--timeout", metavar="TIME", callback=duration, help=TIMEOUT_HELP)
@verify_option
@json_option
@verbosity_options
@where_options
def start(
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
    """Run SPEC and show its progress; resume the run if it exists.

    The same spec is the same run: starting it twice does not pay twice.

    \b
    Example:
        vlm-runner start run.toml
        vlm-runner start run.toml --yes --detach
    """
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


@click.command()
@run_argument()
@click.option("--until", metavar="PHASE", help="Stop after this phase, e.g. recording.")
@click.option("--timeout", metavar="TIME", callback=duration, help=TIMEOUT_HELP)
@verify_option
@json_option
@verbosity_options
@where_options
def resume(run_id: str, until: str | None, *, timeout: float | None, verify: bool, **flags: Any) -> None:
    """Continue RUN from where it is, on any machine with its checkpoint.

    \b
    Example:
        vlm-runner resume for-vlm-accessibility-3f2a9c01
    """
    where, voice = split_flags(flags)
    try:
        last = Phase(until) if until else None
    except ValueError:
        raise UsageError(f"Unknown phase '{until}'; choose from {', '.join(Phase)}.") from None

    async def begin(runner: Runner) -> RunHandle:
        return await runner.resume(run_id, until=last)

    settings, partly = verifying(settings_for(where), verify=verify), last is not None
    sys.exit(drive_to_end(settings, begin, timeout=timeout, where=where, partly=partly, **voice))


@click.command()
@run_argument()
@click.option("--reason", default="", help="Kept in the run's history.")
@click.option("-d", "--detach", is_flag=True, help="Request the cancellation, and return at once.")
@json_option
@verbosity_options
@where_options
def cancel(run_id: str, reason: str, *, detach: bool, **flags: Any) -> None:
    """Stop what RUN pays for, delete it, and report. Exits with 103 once that is done.

    \b
    Example:
        vlm-runner cancel for-vlm-accessibility-3f2a9c01 --reason "wrong split"
    """
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


def split_flags(flags: dict[str, Any]) -> tuple[Where, dict[str, Any]]:
    """Shared flags, by what they are about."""
    voice = {name: flags.pop(name) for name in ("as_json", "quiet", "verbose")}
    return Where(**flags), voice


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
