"""All checks, with the account and the store that the settings name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_runner.aws.session import AwsSession
from vlm_runner.doctor.checks import Subject, run_checks
from vlm_runner.errors import RunExists
from vlm_runner.models.settle import settled
from vlm_runner.paths import default_checkpoint_folder
from vlm_runner.preflight import refuse, region_problems
from vlm_runner.runner import Runner
from vlm_runner.stores import store_encryption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.aws.ports import Objects
    from vlm_runner.doctor.checks import Part
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.plan.check import Check
    from vlm_runner.settings import Settings
    from vlm_runner.spec import RunSpec


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
        store = (session.state_objects(bucket, encryption=store_encryption(settings)), prefix)
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
