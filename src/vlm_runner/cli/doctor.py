"""doctor: check account, role, bucket, quotas and checkpoint store."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.aws.session import AwsSession
from vlm_runner.cli import console
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.doctor import Status, Subject, run_checks
from vlm_runner.errors import RunExists
from vlm_runner.models.settle import settled
from vlm_runner.paths import default_checkpoint_folder
from vlm_runner.preflight import refuse, region_problems
from vlm_runner.prices import priced_catalogue
from vlm_runner.runner import Runner
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.aws.ports import Objects
    from vlm_runner.doctor import Check
    from vlm_runner.doctor.checks import Part
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.settings import Settings


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option("--run-id", metavar="ID", help="Look whether this name is free; else the one that start takes.")
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


async def run_doctor(
    spec: RunSpec,
    settings: Settings,
    catalogue: Catalogue,
    run_id: str | None,
    parts: Sequence[Part] | None = None,
) -> list[Check]:
    """Open a session as the settings say, and run all checks, or those of `parts`."""
    profile, region = catalogue.find(spec.model.base), settings.region or ""
    if not region:
        refuse(region_problems(profile, region))
    async with AwsSession(
        region=region, profile=settings.profile, endpoint_url=settings.endpoint_url
    ) as session:
        return await run_checks(subject_of(spec, profile, catalogue, settings, session, run_id=run_id), parts)


def subject_of(
    spec: RunSpec,
    profile: ModelProfile,
    catalogue: Catalogue,
    settings: Settings,
    session: AwsSession,
    *,
    run_id: str | None,
) -> Subject:
    uri = settings.checkpoint_uri
    store: Path | tuple[Objects, str]
    if uri is not None and uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        store = (session.state_objects(bucket), prefix)
    else:
        store = Path(uri) if uri is not None else default_checkpoint_folder()

    async def name_taken() -> str | None:
        async with Runner.open(settings) as runner:
            try:
                await runner.existing(spec, run_id=run_id)
            except RunExists as error:
                return error.message
        return None

    return Subject(
        spec=settled(spec, profile),
        profile=profile,
        catalogue=catalogue,
        aws=session,
        inspection=session.inspection,
        now=lambda: datetime.now(UTC),
        store=store,
        name_taken=name_taken,
        metric_modules=settings.metric_modules,
    )
