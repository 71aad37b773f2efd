"""start, resume, cancel."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.detached import begin_detached
from vlm_runner.cli.foreground import drive_to_end
from vlm_runner.cli.lint import table
from vlm_runner.cli.options import Where, json_option, verbosity_options, verify_option, where_options
from vlm_runner.cli.plan import plan_of
from vlm_runner.cli.resolve import duration, settings_for, verifying
from vlm_runner.core.run import Phase
from vlm_runner.errors import DataError, UsageError
from vlm_runner.lint import Severity
from vlm_runner.lint.rows import order
from vlm_runner.plan import plan_text
from vlm_runner.runner import Runner
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from vlm_runner.core.events import RunCreated
    from vlm_runner.json_output import DetachedRunJson
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
    if detach:
        sys.exit(start_detached(settings, spec, run_id, where, yes=yes, lint=lint, timeout=timeout, **voice))

    async def begin(runner: Runner) -> RunHandle:
        created = await runner.prepare(spec, run_id=run_id)
        if created is not None:
            await runner.create(await confirm_plan(runner, created, yes=yes, lint=lint))
        return await runner.start(spec, run_id=run_id)

    sys.exit(drive_to_end(settings, begin, timeout=timeout, where=where, **voice))


@click.command()
@click.argument("run_id", metavar="RUN")
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
@click.argument("run_id", metavar="RUN")
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

    async def mark(runner: Runner) -> None:
        await runner.request_cancel(run_id, reason)

    if detach:

        async def only_mark() -> None:
            async with Runner.open(settings) as runner:
                await mark(runner)

        anyio.run(only_mark)
        again = shlex.join(["vlm-runner", "resume", run_id, *where.repeated(settings)])
        console.say(f"Cancellation requested: the driver of run {run_id} stops it. If it has none: {again}")
        return

    async def begin(runner: Runner) -> RunHandle:
        await mark(runner)
        return await runner.resume(run_id)

    sys.exit(drive_to_end(settings, begin, where=where, **voice))


def split_flags(flags: dict[str, Any]) -> tuple[Where, dict[str, Any]]:
    """Shared flags, by what they are about."""
    voice = {name: flags.pop(name) for name in ("as_json", "quiet", "verbose")}
    return Where(**flags), voice


async def confirm_plan(runner: Runner, created: RunCreated, *, yes: bool, lint: bool) -> RunCreated:
    """
    Show the plan, and ask before money is spent; return what is to be created.

    Raises:
        DataError: lint has errors, and nothing was created.
        UsageError: there is no terminal to ask for confirmation, or the answer was no.
    """
    terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not (yes or terminal) and created.budget is None:
        raise UsageError(
            "This run costs money, and there is no terminal to ask for confirmation.",
            hint="Confirm with: --yes, or set max_cost under [budget].",
        )
    if yes and not lint:
        return created
    preview = await runner.preview(created)
    plan = plan_of(created, preview, runner.catalogue)
    if terminal:
        console.say(plan_text(plan, settings=False))
    if plan.report.failed and lint:
        if not terminal:
            console.say(table(plan.report))
        first = min(plan.report.findings, key=order)
        raise DataError(
            f"Lint has {plan.report.count(Severity.ERROR):,} errors, the first ({first.code}) of "
            f"{first.where or 'the spec'}: {first.message}. Nothing was created.",
            hint="See vlm-runner lint, and its --fix. To start anyway: --no-lint",
        )
    if yes or not terminal:
        return preview.created
    if not await confirmed("Start it?"):
        raise UsageError("Nothing was started.")
    return preview.created


def start_detached(
    settings: Settings,
    spec: RunSpec,
    run_id: str | None,
    where: Where,
    *,
    yes: bool,
    lint: bool,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """
    Create the run here, so that what is wrong is said here, and drive it in a process of its own.

    Returns the exit code once that process drives the run, or has ended without.
    """

    async def create() -> str:
        async with Runner.open(settings) as runner:
            created = await runner.prepare(spec, run_id=run_id)
            if created is None:
                return await runner.id_of(spec, run_id)
            return await runner.create(await confirm_plan(runner, created, yes=yes, lint=lint))

    name = anyio.run(create)
    flags = where.repeated(settings)
    words = [*flags, *(["--verify"] if settings.upload.verify else [])]
    words += [*(["--quiet"] if quiet else []), *(["--verbose"] if verbose else [])]
    words += ["--timeout", f"{timeout:g}s"] if timeout is not None else []
    code, said, log = begin_detached(settings, name, words)
    console.say(said)
    if code == 0:
        reach = shlex.join(flags)
        console.say(
            f"Check progress: {f'vlm-runner status {name} {reach}'.rstrip()}    "
            f"or: {f'vlm-runner events {name} -f {reach}'.rstrip()}"
        )
    if as_json:
        shown: DetachedRunJson = {"run_id": name, "log": str(log)}
        console.result_json(shown)
    else:
        console.result(name)
    return code


async def confirmed(question: str) -> bool:
    """
    Whether the person at the terminal says yes; anything else is no.

    Waits without a thread and without readline, which would keep Ctrl-C to itself.
    """
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    await anyio.wait_readable(sys.stdin)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
