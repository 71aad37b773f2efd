"""sandbox: AWS on this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from vlm_runner.errors import UsageError


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
    "--as-of", metavar="DATE", help="Where its clock begins, e.g. 2025-06-01: models live and die by it."
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
        raise UsageError(
            f"The sandbox needs more than is installed ({error.name}).",
            hint="Install it with: pip install 'vlm-runner[sandbox]'",
        ) from error
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
