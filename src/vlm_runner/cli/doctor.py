"""doctor: check account, role, bucket, quotas and checkpoint store."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.options import json_option, where_options


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option(
    "--run-id", metavar="ID", help="Check that this run id is free. Default: the one that start would use."
)
@json_option
@where_options
def doctor(**given: Any) -> None:
    """Check credentials, model, role, bucket, quotas and store.

    What is wrong is shown with its exact fix.

    Changes nothing, but for a probe object in an S3 checkpoint store, which it deletes. Exits with 4 if
    something is bad, with 75 if AWS did not answer and nothing could be checked.

    \b
    Example:
        vlm-runner doctor run.toml
        vlm-runner doctor run.toml --json | jq '.[] | select(.status == "bad") | .fix'
    """
    from vlm_runner.cli.doctor_spec import doctor_spec  # noqa: PLC0415 - not for --help

    doctor_spec(**given)
