"""Bedrock's control plane through aioboto3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.aws.errors import translated
from vlm_runner.aws.ports import CustomModel, Endpoint, FoundationModel, Job
from vlm_runner.errors import AwsRefused, Conflict, NotFound
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from types_aiobotocore_bedrock import BedrockClient

NAME_IN_USE = "in use"
"""Bedrock says so of a taken job name, as ValidationException."""


class BedrockControl:
    """`reader` may repeat a request; `payer` sends each one once, since it does not ask what became of it."""

    def __init__(
        self, reader: Callable[[], Awaitable[BedrockClient]], payer: Callable[[], Awaitable[BedrockClient]]
    ) -> None:
        self._reader, self._payer = reader, payer

    async def foundation_model(self, model_id: str) -> FoundationModel | None:
        client = await self._reader()
        try:
            with translated(f"GetFoundationModel {model_id}"):
                answer = await client.get_foundation_model(modelIdentifier=model_id)
        except NotFound:
            return None
        except AwsRefused as error:
            # Bedrock calls an identifier that it does not know, or no longer, an invalid one.
            if error.code == "ValidationException":
                return None
            raise
        details = answer["modelDetails"]
        return FoundationModel(
            model_id=str(details["modelId"]),
            lifecycle=str(details.get("modelLifecycle", {}).get("status", "ACTIVE")),
            customizations=tuple(details.get("customizationsSupported", ())),
            inference_types=tuple(details.get("inferenceTypesSupported", ())),
        )

    async def find_job(self, name_or_arn: str) -> Job | None:
        client = await self._reader()
        try:
            with translated("GetModelCustomizationJob"):
                return _job(await client.get_model_customization_job(jobIdentifier=name_or_arn))
        except NotFound:
            return None

    async def create_job(self, request: Mapping[str, Any]) -> str:
        client = await self._payer()
        with translated("CreateModelCustomizationJob", create=True):
            answer = await client.create_model_customization_job(**request)
        return str(answer["jobArn"])

    async def stop_job(self, name_or_arn: str) -> None:
        client = await self._reader()
        try:
            with translated("StopModelCustomizationJob"):
                await client.stop_model_customization_job(jobIdentifier=name_or_arn)
        except (Conflict, NotFound):
            return

    async def find_model(self, name_or_arn: str) -> CustomModel | None:
        client = await self._reader()
        try:
            with translated("GetCustomModel"):
                answer = await client.get_custom_model(modelIdentifier=name_or_arn)
        except NotFound:
            return None
        # Models from before there were states have none, and can be used.
        return CustomModel(
            str(answer["modelArn"]), str(answer.get("modelStatus", "Active")), answer.get("failureMessage")
        )

    async def find_endpoint(self, mode: ServingMode, name_or_arn: str) -> Endpoint | None:
        client = await self._reader()
        try:
            if mode is ServingMode.PROVISIONED:
                with translated("GetProvisionedModelThroughput"):
                    return _throughput(
                        await client.get_provisioned_model_throughput(provisionedModelId=name_or_arn)
                    )
            with translated("GetCustomModelDeployment"):
                return _deployment(
                    await client.get_custom_model_deployment(customModelDeploymentIdentifier=name_or_arn)
                )
        except NotFound:
            return None

    async def create_endpoint(self, mode: ServingMode, request: Mapping[str, Any]) -> str:
        client = await self._payer()
        if mode is ServingMode.PROVISIONED:
            with translated("CreateProvisionedModelThroughput", create=True):
                throughput = await client.create_provisioned_model_throughput(**request)
            return str(throughput["provisionedModelArn"])
        with translated("CreateCustomModelDeployment", create=True):
            deployment = await client.create_custom_model_deployment(**request)
        return str(deployment["customModelDeploymentArn"])

    async def delete_endpoint(self, mode: ServingMode, name_or_arn: str) -> bool:
        client = await self._reader()
        try:
            if mode is ServingMode.PROVISIONED:
                with translated("DeleteProvisionedModelThroughput"):
                    await client.delete_provisioned_model_throughput(provisionedModelId=name_or_arn)
            else:
                with translated("DeleteCustomModelDeployment"):
                    await client.delete_custom_model_deployment(customModelDeploymentIdentifier=name_or_arn)
        except NotFound:
            return True
        except Conflict:
            return False
        return True

    async def list_endpoints(self, mode: ServingMode, name_contains: str) -> AsyncIterator[Endpoint]:
        client = await self._reader()
        if mode is ServingMode.PROVISIONED:
            with translated("ListProvisionedModelThroughputs"):
                throughputs = client.get_paginator("list_provisioned_model_throughputs")
                async for page in throughputs.paginate(nameContains=name_contains):
                    for item in page.get("provisionedModelSummaries", ()):
                        yield _throughput(item)
            return
        with translated("ListCustomModelDeployments"):
            deployments = client.get_paginator("list_custom_model_deployments")
            async for listed in deployments.paginate(nameContains=name_contains):
                for summary in listed.get("modelDeploymentSummaries", ()):
                    yield _deployment(summary)

    async def tags(self, arn: str) -> Mapping[str, str]:
        client = await self._reader()
        with translated("ListTagsForResource"):
            answer = await client.list_tags_for_resource(resourceARN=arn)
        return {str(tag["key"]): str(tag["value"]) for tag in answer.get("tags", ())}

    async def tag(self, arn: str, tags: Mapping[str, str]) -> None:
        client = await self._reader()
        with translated("TagResource"):
            await client.tag_resource(
                resourceARN=arn, tags=[{"key": key, "value": value} for key, value in tags.items()]
            )


def _job(answer: Mapping[str, Any]) -> Job:
    validators: list[dict[str, Any]] = answer.get("validationMetrics") or [{}]
    details = answer.get("statusDetails") or {}
    return Job(
        arn=str(answer["jobArn"]),
        name=str(answer["jobName"]),
        status=str(answer["status"]),
        token=answer.get("clientRequestToken"),
        model_arn=answer.get("outputModelArn"),
        failure=answer.get("failureMessage"),
        details={
            name.removesuffix("Details"): str(part["status"])
            for name, part in details.items()
            if isinstance(part, dict) and "status" in part
        },
        training_loss=(answer.get("trainingMetrics") or {}).get("trainingLoss"),
        validation_loss=validators[0].get("validationLoss"),
    )


def _throughput(answer: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        arn=str(answer["provisionedModelArn"]),
        name=str(answer["provisionedModelName"]),
        status=str(answer["status"]),
        failure=answer.get("failureMessage"),
        model_arn=answer.get("modelArn"),
        created_at=answer.get("creationTime"),
    )


def _deployment(answer: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        arn=str(answer["customModelDeploymentArn"]),
        name=str(answer.get("modelDeploymentName") or answer.get("customModelDeploymentName") or ""),
        status=str(answer["status"]),
        failure=answer.get("failureMessage"),
        model_arn=answer.get("modelArn"),
        created_at=answer.get("createdAt"),
    )
