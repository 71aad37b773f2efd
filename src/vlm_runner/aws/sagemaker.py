"""SageMaker Pipelines through aioboto3."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.aws.errors import translated
from vlm_runner.errors import AwsRefused, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

ENDED: Final = frozenset({"Succeeded", "Failed", "Stopped", "CompletedWithFailures"})
"""SageMaker API reference, DescribePipelineExecution; the last one is newer than botocore 1.40."""


@dataclass(frozen=True, slots=True)
class StepState:
    name: str
    status: str
    reason: str | None = None
    job_arn: str | None = None
    said: str | None = None
    """What the container left as its last word; asked for where the step failed."""


@dataclass(frozen=True, slots=True)
class Execution:
    arn: str
    status: str
    reason: str | None = None
    name: str | None = None
    steps: tuple[StepState, ...] = ()

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class SageMaker:
    def __init__(self, client: Callable[[], Awaitable[Any]]) -> None:
        self._client = client

    async def upsert(self, name: str, definition: Mapping[str, Any], *, role_arn: str, token: str) -> str:
        """Create the pipeline, or bring the one of this name up to date; its ARN."""
        client = await self._client()
        text = json.dumps(definition, sort_keys=True)
        try:
            with translated(f"UpdatePipeline {name}"):
                answer = await client.update_pipeline(
                    PipelineName=name, PipelineDefinition=text, RoleArn=role_arn
                )
        except NotFound:
            with translated(f"CreatePipeline {name}"):
                answer = await client.create_pipeline(
                    PipelineName=name, PipelineDefinition=text, RoleArn=role_arn, ClientRequestToken=token
                )
        return str(answer["PipelineArn"])

    async def delete(self, name: str, *, token: str) -> bool:
        """False if there was none. Executions that are under way make SageMaker refuse."""
        client = await self._client()
        try:
            with translated(f"DeletePipeline {name}"):
                await client.delete_pipeline(PipelineName=name, ClientRequestToken=token)
        except NotFound:
            return False
        return True

    async def start(
        self,
        name: str,
        parameters: Mapping[str, str],
        *,
        token: str,
        label: str,
        selective: tuple[str, Sequence[str]] | None = None,
    ) -> str:
        """The execution's ARN; the same token is the same execution. `selective`: source ARN, and steps."""
        client = await self._client()
        more: dict[str, Any] = {}
        if selective is not None:
            source, steps = selective
            more["SelectiveExecutionConfig"] = {
                "SourcePipelineExecutionArn": source,
                "SelectedSteps": [{"StepName": step} for step in steps],
            }
        with translated(f"StartPipelineExecution {name}"):
            answer = await client.start_pipeline_execution(
                PipelineName=name,
                PipelineExecutionDisplayName=label,
                PipelineParameters=[{"Name": key, "Value": value} for key, value in parameters.items()],
                ClientRequestToken=token,
                **more,
            )
        return str(answer["PipelineExecutionArn"])

    async def executions(self, name: str, *, label: str) -> list[Execution]:
        """Those with this label, newest first; their steps are not asked for."""
        client = await self._client()
        found: list[Execution] = []
        with translated(f"ListPipelineExecutions {name}"):
            pages = client.get_paginator("list_pipeline_executions").paginate(
                PipelineName=name, SortBy="CreationTime", SortOrder="Descending"
            )
            async for page in pages:
                found += [
                    Execution(
                        arn=str(row["PipelineExecutionArn"]),
                        status=str(row["PipelineExecutionStatus"]),
                        reason=row.get("PipelineExecutionFailureReason"),
                        name=row.get("PipelineExecutionDisplayName"),
                    )
                    for row in page["PipelineExecutionSummaries"]
                    if row.get("PipelineExecutionDisplayName") == label
                ]
        return found

    async def describe(self, arn: str) -> Execution:
        client = await self._client()
        with translated("DescribePipelineExecution"):
            answer = await client.describe_pipeline_execution(PipelineExecutionArn=arn)
        steps: list[StepState] = []
        with translated("ListPipelineExecutionSteps"):
            pages = client.get_paginator("list_pipeline_execution_steps").paginate(
                PipelineExecutionArn=arn, SortOrder="Ascending"
            )
            async for page in pages:
                for row in page["PipelineExecutionSteps"]:
                    steps.append(await self._step(client, row))  # noqa: PERF401 - one after the other
        return Execution(
            arn=arn,
            status=str(answer["PipelineExecutionStatus"]),
            reason=answer.get("FailureReason"),
            name=answer.get("PipelineExecutionDisplayName"),
            steps=tuple(steps),
        )

    async def stop(self, arn: str, *, token: str) -> None:
        """One that has already ended is not an error."""
        client = await self._client()
        try:
            with translated("StopPipelineExecution"):
                await client.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=token)
        except Conflict:
            return

    async def _step(self, client: Any, row: Mapping[str, Any]) -> StepState:
        job = row.get("Metadata", {}).get("ProcessingJob", {}).get("Arn")
        said = None
        if row["StepStatus"] == "Failed" and job is not None:
            try:
                with translated("DescribeProcessingJob"):
                    found = await client.describe_processing_job(ProcessingJobName=job.rpartition("/")[2])
                said = found.get("ExitMessage")
            except AwsRefused:
                said = None  # a reason that may not be read must not hide the failure
        return StepState(str(row["StepName"]), str(row["StepStatus"]), row.get("FailureReason"), job, said)
