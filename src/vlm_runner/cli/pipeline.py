"""What the commands of `sagemaker` do."""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.aws.session import AwsSession
from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.confirm import Consent
from vlm_runner.cli.options import Where
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.start_run import create
from vlm_runner.cli.submit_run import is_local
from vlm_runner.errors import AwsUnavailable, ConfigurationError, RunNotFound, UsageError
from vlm_runner.runner import Runner
from vlm_runner.sagemaker.definition import (
    Blueprint,
    definition,
    display_name,
)
from vlm_runner.spec import RunSpec
from vlm_runner.stores import store_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from vlm_runner.aws.sagemaker import Execution, SageMaker
    from vlm_runner.core.run import Run
    from vlm_runner.settings import Settings


def upsert_pipeline(*, as_json: bool, only_print: bool, **flags: Any) -> None:
    where = Where(**{key: flags.pop(key) for key in ("profile", "region", "endpoint_url", "store")})
    settings = settings_for(where)
    if not (settings.checkpoint_uri or "").startswith("s3://"):
        raise UsageError("Steps of a pipeline meet in S3.", hint="Give --store s3://bucket/prefix.")
    environment = store_environment(settings) | dict(_pair(text) for text in flags["env"])
    if settings.region is not None:
        environment = {"AWS_REGION": settings.region, **environment}
    made = definition(
        Blueprint(
            image=flags["image"],
            checkpoint_uri=str(settings.checkpoint_uri),
            role_arn=flags["role_arn"],
            instance_type=flags["instance_type"],
            instances=flags["instances"],
            train_days=flags["train_days"],
            environment=environment,
            subnets=flags["subnet"],
            security_groups=flags["security_group"],
        )
    )
    if only_print:
        console.result_json(made)
        return
    name = flags["name"]

    async def do() -> str:
        async with _opened(settings) as service:
            token = _token("upsert", name, json.dumps(made, sort_keys=True))
            return await service.upsert(name, made, role_arn=flags["role_arn"], token=token)

    arn = anyio.run(do)
    console.result_json({"pipeline": arn}) if as_json else console.result(arn)


def start_execution(spec_file: str, **flags: Any) -> None:
    where = Where(**{key: flags.pop(key) for key in ("profile", "region", "endpoint_url", "store")})
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(where, spec_region=spec.aws.region)
    if is_local(spec):
        # Only a warning: the steps' image may hold the data at the same path.
        console.say(
            f"vlm-runner: {spec.dataset.source} is on this machine. Where the pipeline's steps run it must "
            "be at the same place, or dataset.source must be on the Hub."
        )
    consent = Consent(spec_file=spec_file, yes=flags["yes"], doctor=flags["doctor"], driven_here=False)
    run, arn = anyio.run(partial(_start, settings, spec, flags, consent))
    console.say(f"Run {run.run_id} is execution {arn}. Wait for it: vlm-runner sagemaker wait {run.run_id}")
    if flags["as_json"]:
        console.result_json({"run_id": run.run_id, "execution": arn})
    else:
        console.result(run.run_id)


def describe_execution(run: str, *, name: str, as_json: bool, **flags: Any) -> None:
    settings = settings_for(Where(**flags))
    _show(anyio.run(partial(_newest_described, settings, name, run)), as_json=as_json)


def wait_for_execution(
    run: str, *, name: str, timeout: float | None, poll: float, as_json: bool, **flags: Any
) -> None:
    settings = settings_for(Where(**flags))
    execution = anyio.run(partial(_await, settings, name, run, poll, timeout))
    _show(execution, as_json=as_json)
    sys.exit({"Succeeded": 0, "Stopped": 103}.get(execution.status, 100 if execution.ended else 101))


def stop_execution(run: str, *, name: str, **flags: Any) -> None:
    settings = settings_for(Where(**flags))

    async def do() -> str:
        async with _opened(settings) as service:
            arn = (await _newest(service, name, run)).arn
            await service.stop(arn, token=_token("stop", arn))
            return arn

    console.say(f"Stopping {anyio.run(do)}. Then: vlm-runner cancel {run}, or resume {run}")


def delete_pipeline(*, name: str, **flags: Any) -> None:
    settings = settings_for(Where(**flags))

    async def do() -> bool:
        async with _opened(settings) as service:
            return await service.delete(name, token=_token("delete", name))

    console.say(f"Pipeline {name} is deleted." if anyio.run(do) else f"Pipeline not found: {name}.")


def _opened(settings: Settings) -> AbstractAsyncContextManager[SageMaker]:
    if settings.region is None:
        raise ConfigurationError(
            "The pipeline's region is unknown.", hint="Give --region, or set AWS_REGION."
        )
    region = settings.region

    @asynccontextmanager
    async def opened() -> AsyncIterator[SageMaker]:
        async with AwsSession(
            region=region, profile=settings.profile, endpoint_url=settings.endpoint_url
        ) as session:
            yield session.sagemaker()

    return opened()


async def _start(
    settings: Settings, spec: RunSpec, flags: dict[str, Any], consent: Consent
) -> tuple[Run, str]:
    async with Runner.open(settings) as runner:
        checkpoint, _ = await lease.load(
            runner.store, await create(runner, settings, spec, flags["run_id"], consent)
        )
    run = checkpoint.run
    given = {
        "INST_COUNT": flags["instances"],
        "INST_TYPE": flags["instance_type"],
        "ROLE_ARN": flags["role_arn"],
    }
    parameters = {"RUN_ID": run.run_id} | {key: str(value) for key, value in given.items() if value}
    async with _opened(settings) as service:
        return run, await _execution_of(service, flags["name"], run, parameters, flags["steps"])


async def _execution_of(
    service: SageMaker, name: str, run: Run, parameters: dict[str, str], steps: tuple[str, ...]
) -> str:
    """
    The execution that is under way for this run, or a new one.

    Its token derives from how many have ended: two hands that start it at once start one, and after a
    failure it is another one.
    """
    known = await service.executions(name, label=display_name(run.run_id))
    if under_way := [one for one in known if not one.ended]:
        return under_way[0].arn
    if steps and not known:
        raise UsageError("--selective continues an earlier execution, and this run has none.")
    selective = (known[0].arn, steps) if steps else None
    token = _token("start", run.uid, str(len(known)), *steps)
    return await service.start(
        name, parameters, token=token, label=display_name(run.run_id), selective=selective
    )


async def _newest(service: SageMaker, name: str, run_id: str) -> Execution:
    known = await service.executions(name, label=display_name(run_id))
    if not known:
        raise RunNotFound(
            f"Pipeline {name} has no execution of run {run_id}.",
            hint="Start one with: vlm-runner sagemaker start run.toml",
        )
    return known[0]


async def _newest_described(settings: Settings, name: str, run_id: str) -> Execution:
    async with _opened(settings) as service:
        return await service.describe((await _newest(service, name, run_id)).arn)


async def _await(settings: Settings, name: str, run_id: str, poll: float, seconds: float | None) -> Execution:
    shown: dict[str, str] = {}
    began = anyio.current_time()
    async with _opened(settings) as service:
        arn = (await _newest(service, name, run_id)).arn
        while True:
            try:
                execution = await service.describe(arn)
            except AwsUnavailable as error:
                console.say(f"vlm-runner: {error} Looking again.")
            else:
                for step in execution.steps:
                    if shown.get(step.name) != step.status:
                        shown[step.name] = step.status
                        console.say(f"{step.name}: {step.status}")
                late = seconds is not None and anyio.current_time() - began >= seconds
                if execution.ended or late:
                    return execution
            await anyio.sleep(poll)


def _show(execution: Execution, *, as_json: bool) -> None:
    if as_json:
        console.result_json(asdict(execution))
        return
    console.result(f"{execution.arn}: {execution.status}")
    for step in execution.steps:
        console.result(f"  {step.name:<18}{step.status}")
    for step in execution.steps:
        if step.status == "Failed":
            why = " ".join(text for text in (step.said, step.reason) if text)
            console.say(f"vlm-runner: step {step.name} failed: {why or 'SageMaker gave no reason.'}")
    if execution.status != "Succeeded" and execution.reason:
        console.say(f"vlm-runner: {execution.reason}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"'{text}' is not NAME=VALUE.")
    return name, value


def _token(*parts: str) -> str:
    """64 hex digits: SageMaker takes 32 to 128 characters."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
