"""What `submit` does: the run is saved, its local data staged, and a task started."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.aws.ports import Encryption
from vlm_runner.aws.session import AwsSession
from vlm_runner.cli import console
from vlm_runner.cli.confirm import Consent
from vlm_runner.cli.foreground import drive_to_end
from vlm_runner.cli.options import (
    Where,
    split_flags,
)
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.start_run import create
from vlm_runner.core.phases import Phase
from vlm_runner.errors import ConfigurationError
from vlm_runner.runner import RunHandle, Runner
from vlm_runner.spec import RunSpec
from vlm_runner.stores import store_encryption

if TYPE_CHECKING:
    from vlm_runner.aws.ecs import EcsTarget
    from vlm_runner.core.run import Run
    from vlm_runner.json_output import SubmittedJson
    from vlm_runner.settings import Settings

HERE = (Phase.STAGING, Phase.RECORDING)
"""What the dataset is needed for."""


def submit_run(
    spec_file: str,
    run_id: str | None,
    *,
    stack: str,
    yes: bool,
    doctor: bool,
    **flags: Any,
) -> None:
    spec = RunSpec.from_toml(Path(spec_file))
    where, voice = split_flags(flags)
    as_json = voice.pop("as_json")
    settings = settings_for(where, spec_region=spec.aws.region)
    if settings.region is None:
        raise ConfigurationError("The stack's region is unknown.", hint="Give --region, or set AWS_REGION.")
    target = anyio.run(partial(_target, settings, stack))
    settings = saving_as_the_stack(settings, target, stack)
    consent = Consent(spec_file=spec_file, yes=yes, doctor=doctor, driven_here=False)
    run = anyio.run(partial(_created, settings, spec, run_id, consent))
    if run.phase in HERE and is_local(spec):
        _stage_here(settings, run, replace(where, store=target.checkpoint_uri), voice)
    task = anyio.run(partial(_start_task, settings, target, run.run_id))
    console.say(f"Run {run.run_id} is driven by task {task}.")
    console.say(f"Follow it: vlm-runner events {run.run_id} -f --store {target.checkpoint_uri}")
    if as_json:
        shown: SubmittedJson = {
            "run_id": run.run_id,
            "task": task,
            "checkpoint_uri": str(target.checkpoint_uri),
        }
        console.result_json(shown)
    else:
        console.result(run.run_id)


def is_local(spec: RunSpec) -> bool:
    """Whether the dataset lies on this machine, where no task can reach it."""
    return spec.dataset.path is not None


def saving_as_the_stack(settings: Settings, target: EcsTarget, stack: str) -> Settings:
    """
    With the store of the stack, and the key with which its tasks save.

    Raises:
        ConfigurationError: the settings ask for another encryption, and its tasks would not obey.
    """
    asked, key = store_encryption(settings), target.checkpoint_kms_key
    tasks = Encryption("aws:kms", key) if key is not None else Encryption("AES256")
    if asked is not None and asked != tasks:
        raise ConfigurationError(
            f"The tasks of the stack {stack} save checkpoints with {key or 'AES256'}, "
            f"and the settings ask for {asked.kms_key or asked.algorithm}.",
            hint="Update the stack with another KmsKeyArn, or unset checkpoint_encryption and "
            "checkpoint_kms_key.",
        )
    return settings.model_copy(update={"checkpoint_uri": target.checkpoint_uri, "checkpoint_kms_key": key})


async def _target(settings: Settings, stack: str) -> EcsTarget:
    async with _session(settings) as session:
        return await session.ecs().place(stack)


async def _created(settings: Settings, spec: RunSpec, run_id: str | None, consent: Consent) -> Run:
    async with Runner.open(settings) as runner:
        return await runner.get(await create(runner, settings, spec, run_id, consent))


def _stage_here(settings: Settings, run: Run, where: Where, voice: dict[str, Any]) -> None:
    """Drive the run until its records are in S3; ends this process where that does not succeed."""
    console.say("The dataset is on this machine: it is uploaded from here, and then a task continues.")

    async def begin(runner: Runner) -> RunHandle:
        return await runner.resume(run.run_id, until=HERE[-1])

    code = drive_to_end(settings, begin, as_json=False, where=where, partly=True, **voice)
    if code != 0:
        console.say("No task was started. To continue, give the same command again.")
        sys.exit(code)


async def _start_task(settings: Settings, target: EcsTarget, run_id: str) -> str:
    async with Runner.open(settings) as runner:
        run = await runner.get(run_id)
    async with _session(settings) as session:
        return await session.ecs().run_task(target, ["resume", run_id], token=token_of(run), run_id=run_id)


def _session(settings: Settings) -> AwsSession:
    return AwsSession(
        region=settings.region or "", profile=settings.profile, endpoint_url=settings.endpoint_url
    )


def token_of(run: Run) -> str:
    """
    The same until the run advances: two concurrent submissions start one task.

    Once a task has moved it on and has ended, submitting it again starts another one. RunTask takes 33 to
    64 characters (ECS API reference, clientToken).
    """
    return hashlib.sha256(f"submit|{run.uid}|{run.sequence}".encode()).hexdigest()
