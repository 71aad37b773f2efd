"""doctor: check account, role, bucket, quotas and checkpoint store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.doctor import Status
from vlm_runner.doctor.run import run_doctor
from vlm_runner.prices import priced_catalogue
from vlm_runner.spec import RunSpec


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option(
    "--run-id", metavar="ID", help="Check that this run id is free. Default: the one that start would use."
)
@json_option
@where_options
def doctor(spec_file: str, run_id: str | None, *, as_json: bool, **flags: Any) -> None:
    """Check credentials, model, role, bucket, quotas and store.

    What is wrong is shown with its exact fix.

    Changes nothing, but for a probe object in an S3 checkpoint store, which it deletes. Exits with 4 if
    something is bad.

    \b
    Example:
        vlm-runner doctor run.toml
        vlm-runner doctor run.toml --json | jq '.[] | select(.status == "bad") | .fix'
    """
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(Where(**flags), spec_region=spec.aws.region, ask_profile=True)
    found = anyio.run(run_doctor, spec, settings, priced_catalogue(settings), run_id)
    if as_json:
        console.result_json([check.as_json() for check in found])
    else:
        console.result("\n".join(check.line for check in found).replace("SPEC", spec_file))
    sys.exit(4 if any(check.status is Status.BAD for check in found) else 0)
