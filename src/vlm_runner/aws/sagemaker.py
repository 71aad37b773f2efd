"""SageMaker Pipelines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.errors import AwsRefused, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.aws.answers import AwsAnswer, AwsService

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
    def __init__(self, service: AwsService) -> None:
        self._service = service

    async def upsert(self, name: str, definition: Mapping[str, Any], *, role_arn: str, token: str) -> str:
        """Create the pipeline, or bring the one of this name up to date; its ARN."""
        request: dict[str, Any] = {
            "PipelineName": name,
            "PipelineDefinition": json.dumps(definition, sort_keys=True),
            "RoleArn": role_arn,
        }
        try:
            answer = await self._service.call("UpdatePipeline", about=name, **request)
        except NotFound:
            answer = await self._service.call(
                "CreatePipeline", about=name, ClientRequestToken=token, **request
            )
        return answer.arn("PipelineArn")

    async def delete(self, name: str, *, token: str) -> bool:
        """False if there was none. Executions that are under way make SageMaker refuse."""
        try:
            await self._service.call(
                "DeletePipeline", about=name, PipelineName=name, ClientRequestToken=token
            )
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
        more: dict[str, Any] = {}
        if selective is not None:
            source, steps = selective
            more["SelectiveExecutionConfig"] = {
                "SourcePipelineExecutionArn": source,
                "SelectedSteps": [{"StepName": step} for step in steps],
            }
        answer = await self._service.call(
            "StartPipelineExecution",
            about=name,
            PipelineName=name,
            PipelineExecutionDisplayName=label,
            PipelineParameters=[{"Name": key, "Value": value} for key, value in parameters.items()],
            ClientRequestToken=token,
            **more,
        )
        return answer.arn("PipelineExecutionArn")

    async def executions(self, name: str, *, label: str) -> list[Execution]:
        """Those with this label, newest first; their steps are not asked for."""
        pages = self._service.pages(
            "ListPipelineExecutions",
            about=name,
            PipelineName=name,
            SortBy="CreationTime",
            SortOrder="Descending",
        )
        return [
            Execution(
                arn=row.arn("PipelineExecutionArn"),
                status=row.name("PipelineExecutionStatus"),
                reason=row.message("PipelineExecutionFailureReason"),
                name=label,
            )
            async for page in pages
            for row in page.parts("PipelineExecutionSummaries")
            if row.optional_text("PipelineExecutionDisplayName") == label
        ]

    async def describe(self, arn: str) -> Execution:
        answer = await self._service.call("DescribePipelineExecution", PipelineExecutionArn=arn)
        pages = self._service.pages(
            "ListPipelineExecutionSteps", PipelineExecutionArn=arn, SortOrder="Ascending"
        )
        rows = [row async for page in pages for row in page.parts("PipelineExecutionSteps")]
        return Execution(
            arn=arn,
            status=answer.name("PipelineExecutionStatus"),
            reason=answer.message("FailureReason"),
            name=answer.message("PipelineExecutionDisplayName"),
            steps=tuple([await self._step(row) for row in rows]),
        )

    async def stop(self, arn: str, *, token: str) -> None:
        """One that has already ended is not an error."""
        try:
            await self._service.call(
                "StopPipelineExecution", PipelineExecutionArn=arn, ClientRequestToken=token
            )
        except Conflict:
            return

    async def _step(self, row: AwsAnswer) -> StepState:
        name, status = row.name("StepName"), row.name("StepStatus")
        job = row.optional_part("Metadata").optional_part("ProcessingJob").optional_arn("Arn")
        said = None
        if status == "Failed" and job is not None:
            try:
                found = await self._service.call(
                    "DescribeProcessingJob", ProcessingJobName=job.rpartition("/")[2]
                )
                said = found.message("ExitMessage")
            except AwsRefused:
                said = None  # a reason that may not be read must not hide the failure
        return StepState(name, status, row.message("FailureReason"), job, said)
