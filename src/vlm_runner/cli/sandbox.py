"""sandbox: AWS on this machine."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from vlm_runner import environment
from vlm_runner.cli import console
from vlm_runner.cli.options import json_option
from vlm_runner.errors import UsageError
from vlm_runner.sandbox_process import not_installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.verify.compare import Difference
    from vlm_runner.verify.recording import Exchange, Header


@click.group()
def sandbox() -> None:
    """Simulate AWS on your machine, with a clock that can run faster.

    It serves S3, STS, Bedrock and more.

    \b
    Example:
        vlm-runner sandbox serve --port 4599 --speed 600
        export AWS_ENDPOINT_URL=http://127.0.0.1:4599 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
        vlm-runner start run.toml --yes
    """


@sandbox.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="Also answer to this name, besides loopback names and addresses. May be repeated.",
)
@click.option("--port", default=4599, show_default=True, help="Port; 0 takes a free one.")
@click.option(
    "--ready-file", type=click.Path(dir_okay=False), help="File to write the URL to once it listens."
)
@click.option(
    "--speed", default=1.0, show_default=True, help="How many times faster than real its clock runs."
)
@click.option(
    "--as-of",
    metavar="DATE",
    help="Where its clock begins, e.g. 2025-06-01: the lifecycle of models follows it.",
)
@click.option(
    "--prices",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Your prices, in the format of VLM_RUNNER_CATALOGUE; the ledger uses them.",
)
@click.option(
    "--model-units",
    default=0,
    show_default=True,
    help="Quota of model units for provisioned throughput; AWS's default is 0.",
)
@click.option(
    "--record", metavar="FILE", type=click.Path(dir_okay=False), help="Append every exchange to FILE as JSON."
)
def serve(  # noqa: PLR0917 - an option each
    host: str,
    hosts: tuple[str, ...],
    port: int,
    ready_file: str | None,
    speed: float,
    as_of: str | None,
    prices: str | None,
    model_units: int,
    record: str | None,
) -> None:
    """Serve until SIGTERM. GET /_sandbox/ledger lists what AWS would bill.

    \b
    Example:
        vlm-runner sandbox serve --port 4599 --speed 600
        vlm-runner sandbox serve --prices prices.toml
    """
    try:
        from vlm_runner.sandbox import SandboxOptions, read_prices  # noqa: PLC0415 - an extra, which may not be installed
        from vlm_runner.sandbox import serve as run_server  # noqa: PLC0415 - an extra, which may not be installed
    except ModuleNotFoundError as error:
        raise not_installed(error.name) from error
    try:
        begins = datetime.fromisoformat(as_of).replace(tzinfo=UTC) if as_of else None
    except ValueError:
        raise UsageError(f"'{as_of}' is not a date; write it as 2025-06-01.") from None
    try:
        own = read_prices(Path(prices) if prices else None)
    except (OSError, ValueError) as error:
        raise UsageError(f"The prices in {prices} cannot be read: {error}.") from error
    run_server(
        SandboxOptions(
            host=host,
            hosts=hosts,
            port=port,
            ready_file=Path(ready_file) if ready_file else None,
            speed=speed,
            as_of=begins,
            prices=own,
            model_units=model_units,
            record=Path(record) if record else None,
        )
    )


@sandbox.command()
@click.argument("recording", metavar="FILE", type=click.Path(dir_okay=False))
@click.option(
    "--known",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Known differences with a reason each (TOML), instead of those of the package.",
)
@json_option
def check(recording: str, known: str | None, *, as_json: bool) -> None:
    """Ask a sandbox what a recording asked of AWS, and list every difference.

    FILE is a recording of `vlm-runner verify`. Compared are status, error code, message, members, types,
    the words among values, and the order of states. Exits with 4 if there is a difference that is not known.

    \b
    Example:
        vlm-runner sandbox check vlm-runner-verify/recording.jsonl
    """
    from vlm_runner.verify.compare import known_differences  # noqa: PLC0415 - not for `serve`
    from vlm_runner.verify.recording import read  # noqa: PLC0415 - as above

    header, exchanges = read(Path(recording))
    excused = known_differences(Path(known) if known else None)
    found = [
        (each, next((one.reason for one in excused if one.covers(each)), None))
        for each in anyio.run(_checked, header, exchanges)
    ]
    if as_json:
        console.result_json([asdict(each) | {"known": reason} for each, reason in found])
    else:
        for each, reason in found:
            console.result(f"{each}{f' (known: {reason})' if reason else ''}")
    unknown = sum(reason is None for _, reason in found)
    console.say(
        f"{len(exchanges)} exchanges of {header.date} in {header.region}: {unknown} differences, and "
        f"{len(found) - unknown} that are known."
    )
    sys.exit(4 if unknown else 0)


async def _checked(header: Header, exchanges: Sequence[Exchange]) -> list[Difference]:
    try:
        from vlm_runner.sandbox import Sandbox, SandboxOptions  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise not_installed(error.name) from error
    from vlm_runner.models import load_catalogue  # noqa: PLC0415 - not for `serve`
    from vlm_runner.verify import against_sandbox  # noqa: PLC0415 - as above

    begins = datetime.fromisoformat(header.date)
    # Its clock stands still: the replay moves it.
    options = SandboxOptions(as_of=begins, speed=0, model_units=against_sandbox.model_units(exchanges))
    environment.use_sandbox_credentials()
    with Sandbox(options) as running:
        return await against_sandbox.check(header, exchanges, running.url, load_catalogue(None))
