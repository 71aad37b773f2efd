"""Bedrock's control plane."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.aws.ports import CustomModel, Endpoint, FoundationModel, Job
from vlm_runner.errors import AwsRefused, AwsUnavailable, Conflict, NotFound
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from vlm_runner.aws.answers import AwsAnswer, AwsService

DETAILS: Final = ("validationDetails", "dataProcessingDetails", "trainingDetails")
"""The parts of a job that have a status of their own."""


class BedrockControl:
    """`reader` may repeat a request; `payer` sends each one once, since it does not ask what became of it."""

    def __init__(self, reader: AwsService, payer: AwsService) -> None:
        self._reader, self._payer = reader, payer

    async def foundation_model(self, model_id: str) -> FoundationModel | None:
        """
        What Bedrock says of a model; None where it does not know it.

        On which of a model's ids it lists the customizations, the one with a context size or the plain one,
        is not documented: both count.
        """
        found = await self._foundation_model(model_id)
        plain = model_id.rpartition(":")[0]
        if found is None or found.customizations or plain.count(":") != 1:
            return found
        other = await self._foundation_model(plain)
        return found if other is None else replace(found, customizations=other.customizations)

    async def _foundation_model(self, model_id: str) -> FoundationModel | None:
        try:
            answer = await self._reader.call("GetFoundationModel", about=model_id, modelIdentifier=model_id)
        except NotFound:
            return None
        except AwsRefused as error:
            # Bedrock calls an identifier that it does not know, or no longer, an invalid one.
            if error.code == "ValidationException":
                return None
            raise
        details = answer.part("modelDetails")
        return FoundationModel(
            model_id=details.name("modelId"),
            lifecycle=details.optional_part("modelLifecycle").optional_name("status") or "ACTIVE",
            customizations=details.names("customizationsSupported"),
            inference_types=details.names("inferenceTypesSupported"),
        )

    async def find_job(self, name_or_arn: str) -> Job | None:
        try:
            return _job(await self._reader.call("GetModelCustomizationJob", jobIdentifier=name_or_arn))
        except NotFound:
            return None

    async def create_job(self, request: Mapping[str, Any]) -> str:
        answer = await self._payer.call("CreateModelCustomizationJob", create=True, **request)
        return answer.arn("jobArn")

    async def stop_job(self, name_or_arn: str) -> None:
        try:
            await self._reader.call("StopModelCustomizationJob", jobIdentifier=name_or_arn)
        except (Conflict, NotFound):
            return

    async def find_model(self, name_or_arn: str) -> CustomModel | None:
        try:
            answer = await self._reader.call("GetCustomModel", modelIdentifier=name_or_arn)
        except NotFound:
            return None
        return _model(answer)

    async def list_models(self) -> AsyncIterator[CustomModel]:
        # Imported and shared models are in the list too, unless only one's own are asked for.
        async for page in self._reader.pages("ListCustomModels", isOwned=True):
            for item in page.parts("modelSummaries"):
                yield _model(item)

    async def delete_model(self, name_or_arn: str) -> None:
        with suppress(NotFound):
            await self._reader.call("DeleteCustomModel", modelIdentifier=name_or_arn)

    async def find_endpoint(self, mode: ServingMode, name_or_arn: str) -> Endpoint | None:
        try:
            if mode is ServingMode.PROVISIONED:
                return _throughput(
                    await self._reader.call("GetProvisionedModelThroughput", provisionedModelId=name_or_arn)
                )
            return _deployment(
                await self._reader.call(
                    "GetCustomModelDeployment", customModelDeploymentIdentifier=name_or_arn
                )
            )
        except NotFound:
            return None

    async def create_endpoint(self, mode: ServingMode, request: Mapping[str, Any]) -> str:
        if mode is ServingMode.PROVISIONED:
            answer = await self._payer.call("CreateProvisionedModelThroughput", create=True, **request)
            return answer.arn("provisionedModelArn")
        answer = await self._payer.call("CreateCustomModelDeployment", create=True, **request)
        return answer.arn("customModelDeploymentArn")

    async def delete_endpoint(self, mode: ServingMode, name_or_arn: str) -> bool:
        # The answer is empty, so that nothing tells it from one that is not AWS's: callers look afterwards.
        try:
            if mode is ServingMode.PROVISIONED:
                await self._reader.call("DeleteProvisionedModelThroughput", provisionedModelId=name_or_arn)
            else:
                await self._reader.call(
                    "DeleteCustomModelDeployment", customModelDeploymentIdentifier=name_or_arn
                )
        except NotFound:
            return True
        except Conflict:
            return False
        return True

    async def list_endpoints(self, mode: ServingMode, name_contains: str) -> AsyncIterator[Endpoint]:
        # AWS takes no empty text for it.
        named = {"nameContains": name_contains} if name_contains else {}
        if mode is ServingMode.PROVISIONED:
            async for page in self._reader.pages("ListProvisionedModelThroughputs", **named):
                for endpoint in _readable(page.parts("provisionedModelSummaries"), _throughput):
                    yield endpoint
            return
        async for page in self._reader.pages("ListCustomModelDeployments", **named):
            for endpoint in _readable(page.parts("modelDeploymentSummaries"), _deployment):
                yield endpoint

    async def tags(self, arn: str) -> Mapping[str, str]:
        answer = await self._reader.call("ListTagsForResource", resourceARN=arn)
        return {tag.text("key"): tag.text("value") for tag in answer.parts("tags")}

    async def tag(self, arn: str, tags: Mapping[str, str]) -> None:
        await self._reader.call(
            "TagResource",
            resourceARN=arn,
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )


def _readable(items: list[AwsAnswer], read: Callable[[AwsAnswer], Endpoint]) -> Iterator[Endpoint]:
    """What can be read of them; then the error of what cannot, which must not keep the rest from view."""
    odd: AwsUnavailable | None = None
    for item in items:
        try:
            yield read(item)
        except AwsUnavailable as error:
            odd = error
    if odd is not None:
        raise odd


def _job(answer: AwsAnswer) -> Job:
    details = answer.optional_part("statusDetails")
    states = {
        part.removesuffix("Details"): details.optional_part(part).optional_name("status") for part in DETAILS
    }
    validated = answer.optional_parts("validationMetrics")
    parts = [answer, *(details.optional_part(part) for part in DETAILS)]
    modified = [at for part in parts if (at := part.optional_moment("lastModifiedTime")) is not None]
    return Job(
        arn=answer.arn("jobArn"),
        name=answer.name("jobName"),
        status=answer.name("status"),
        token=answer.optional_name("clientRequestToken"),
        model_arn=answer.optional_arn("outputModelArn"),
        failure=answer.message("failureMessage"),
        details={part: status for part, status in states.items() if status is not None},
        training_loss=answer.optional_part("trainingMetrics").optional_number("trainingLoss"),
        validation_loss=validated[0].optional_number("validationLoss") if validated else None,
        modified_at=max(modified, default=None),
    )


def _model(answer: AwsAnswer) -> CustomModel:
    return CustomModel(
        arn=answer.arn("modelArn"),
        # Models from before there were states have none, and can be used.
        status=answer.optional_name("modelStatus") or "Active",
        failure=answer.message("failureMessage"),
        name=answer.name("modelName"),
        created_at=answer.optional_moment("creationTime"),
    )


def _throughput(answer: AwsAnswer) -> Endpoint:
    return Endpoint(
        arn=answer.arn("provisionedModelArn"),
        name=answer.name("provisionedModelName"),
        status=answer.name("status"),
        failure=answer.message("failureMessage"),
        model_arn=answer.optional_arn("modelArn"),
        created_at=answer.optional_moment("creationTime"),
    )


def _deployment(answer: AwsAnswer) -> Endpoint:
    # Get and List name it differently (Bedrock API reference, CustomModelDeploymentSummary).
    return Endpoint(
        arn=answer.arn("customModelDeploymentArn"),
        name=answer.optional_name("modelDeploymentName")
        or answer.optional_name("customModelDeploymentName")
        or "",
        status=answer.name("status"),
        failure=answer.message("failureMessage"),
        model_arn=answer.optional_arn("modelArn"),
        created_at=answer.optional_moment("createdAt"),
    )
