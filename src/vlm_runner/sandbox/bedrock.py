"""Amazon Bedrock and Amazon Bedrock Runtime: one call in, one reply out."""

from collections.abc import Callable, Mapping
from typing import Any

from vlm_runner.sandbox import deployments, foundation, jobs, models, runtime, tags, throughputs
from vlm_runner.sandbox.errors import AwsError, error_reply
from vlm_runner.sandbox.http import HttpReply, HttpRequest
from vlm_runner.sandbox.progress import settle
from vlm_runner.sandbox.resources import Region
from vlm_runner.sandbox.service_api import Call, api_for
from vlm_runner.sandbox.state import SandboxState

Handler = Callable[[SandboxState, Region, Mapping[str, Any]], dict[str, Any]]
RuntimeHandler = Callable[[SandboxState, str, Mapping[str, Any]], dict[str, Any]]

CONTROL: dict[str, Handler] = {
    "CreateModelCustomizationJob": jobs.create_job,
    "GetModelCustomizationJob": jobs.get_job,
    "ListModelCustomizationJobs": jobs.list_jobs,
    "StopModelCustomizationJob": jobs.stop_job,
    "GetCustomModel": models.get_model,
    "ListCustomModels": models.list_models,
    "DeleteCustomModel": models.delete_model,
    "CreateProvisionedModelThroughput": throughputs.create_throughput,
    "GetProvisionedModelThroughput": throughputs.get_throughput,
    "ListProvisionedModelThroughputs": throughputs.list_throughputs,
    "UpdateProvisionedModelThroughput": throughputs.update_throughput,
    "DeleteProvisionedModelThroughput": throughputs.delete_throughput,
    "CreateCustomModelDeployment": deployments.create_deployment,
    "GetCustomModelDeployment": deployments.get_deployment,
    "ListCustomModelDeployments": deployments.list_deployments,
    "DeleteCustomModelDeployment": deployments.delete_deployment,
    "GetFoundationModel": foundation.get_foundation_model,
    "ListFoundationModels": foundation.list_foundation_models,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "ListTagsForResource": tags.list_tags,
}
RUNTIME: dict[str, RuntimeHandler] = {
    "Converse": runtime.converse,
    "ConverseStream": runtime.converse_stream,
    "InvokeModel": runtime.invoke_model,
}


def handle(state: SandboxState, region_name: str, request: HttpRequest) -> HttpReply:
    _, api = api_for(request)
    try:
        call = api.read(request)
        settle(state)
        return api.reply(call.operation, _perform(state, region_name, call))
    except AwsError as error:
        return error_reply(
            "bedrock", AwsError(error.code, error.message, error.status or api.status_of(error.code))
        )


def _perform(state: SandboxState, region_name: str, call: Call) -> dict[str, Any]:
    if handler := RUNTIME.get(call.operation):
        return handler(state, region_name, call.parameters)  # decodes images, so it takes the lock by itself
    if control := CONTROL.get(call.operation):
        with state.lock:
            return control(state, state.region(region_name), call.parameters)
    raise AwsError("NotImplementedException", f"The sandbox does not implement {call.operation}.", 501)
