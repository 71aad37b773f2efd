"""
SageMaker Pipelines: each instance of a Processing step is a real process of the command line.

Statuses and messages are those of the SageMaker API reference (DescribePipelineExecution,
ListPipelineExecutionSteps, DescribeProcessingJob); each container is replaced by a folder.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from botocore.model import ServiceModel

from vlm_runner.sandbox.constraints import violations
from vlm_runner.sandbox.errors import AwsError, error_reply, invalid
from vlm_runner.sandbox.http import HttpReply, HttpRequest, json_reply
from vlm_runner.sandbox.service_api import service_model

_ENTRYPOINT = "vlm-runner"
_POLL = 0.05
_TERM_SECONDS = 120.0  # between SIGTERM and SIGKILL (Developer Guide, how Processing runs containers)
_OPERATIONS = frozenset(
    {
        "CreatePipeline",
        "UpdatePipeline",
        "DescribePipeline",
        "DeletePipeline",
        "StartPipelineExecution",
        "StopPipelineExecution",
        "DescribePipelineExecution",
        "ListPipelineExecutions",
        "ListPipelineExecutionSteps",
        "DescribeProcessingJob",
    }
)
# AWS General Reference, Amazon SageMaker AI endpoints and quotas: L-EA47BDD3, L-F311B08F, and the quota of
# each type. Of types that are not listed here many accounts have none.
_LONGEST = 432_000
_ALL_INSTANCES = 4
_INSTANCES = {"ml.t3.medium": 4, "ml.t3.large": 4, "ml.t3.xlarge": 2}
_STEP_NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")


@dataclass
class _Instance:
    host: str
    process: subprocess.Popen[bytes]
    folder: Path


@dataclass
class _Step:
    name: str
    status: str = "Starting"
    reason: str | None = None
    started: float = field(default_factory=time.time)
    ended: float | None = None
    job: str | None = None


@dataclass
class _Execution:
    arn: str
    pipeline: str
    definition: dict[str, Any]
    parameters: dict[str, Any]
    display_name: str | None
    selected: set[str] | None
    status: str = "Executing"
    reason: str | None = None
    created: float = field(default_factory=time.time)
    steps: dict[str, _Step] = field(default_factory=dict)
    instances: list[_Instance] = field(default_factory=list)
    stopping: bool = False


def _over_quota(cluster: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """Why CreateProcessingJob is refused with the default quotas of an account, or None."""
    kind, count = cluster["InstanceType"], int(cluster["InstanceCount"])
    seconds = int(arguments.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 86_400))
    for title, most, wanted, unit in (
        ("Longest run time for a processing job", _LONGEST, seconds, "Seconds"),
        (f"{kind} for processing job usage", _INSTANCES.get(kind, 0), count, "Instances"),
        ("Number of instances across processing jobs", _ALL_INSTANCES, count, "Instances"),
    ):
        if wanted > most:
            return (
                f"ResourceLimitExceeded: The account-level service limit '{title}' is {most} {unit}, with "
                f"current utilization of 0 {unit} and a request delta of {wanted} {unit}. Please use AWS "
                "Service Quotas to request an increase for this quota."
            )
    return None


@cache
def _model() -> ServiceModel:
    return service_model("sagemaker")


class Pipelines:
    """The pipelines of one account, in all Regions."""

    def __init__(self, account: str) -> None:
        self._account = account
        self.url = ""
        self._lock = threading.RLock()
        self._executions: dict[str, _Execution] = {}
        self._pipelines: dict[str, dict[str, Any]] = {}
        self._tokens: dict[str, str] = {}
        self._jobs: dict[str, dict[str, Any]] = {}

    def reset(self) -> None:
        with self._lock:
            executions = list(self._executions.values())
            for one in (self._executions, self._pipelines, self._tokens, self._jobs):
                one.clear()
        for execution in executions:
            execution.stopping = True
            for instance in execution.instances:
                _kill(instance.process)

    def instances(self) -> list[dict[str, Any]]:
        """The running instances, so that a test can end one."""
        with self._lock:
            return [
                {"execution": execution.arn, "host": instance.host, "pid": instance.process.pid}
                for execution in self._executions.values()
                for instance in execution.instances
                if instance.process.poll() is None
            ]

    def handle(self, region: str, request: HttpRequest) -> HttpReply:
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        try:
            call = self._call(operation)
            parameters = request.json()
            shape = _model().operation_model(operation).input_shape
            if shape is not None and (problems := violations(shape, parameters)):
                raise invalid(f"{len(problems)} validation error detected: {'; '.join(problems)}")
            with self._lock:
                return json_reply(call(region, parameters))
        except AwsError as error:
            return error_reply("sagemaker", error)

    def _call(self, operation: str) -> Callable[[str, Mapping[str, Any]], dict[str, Any]]:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        if operation not in _OPERATIONS:
            raise AwsError("NotImplementedException", f"The sandbox does not implement {operation}.", 501)
        call: Callable[[str, Mapping[str, Any]], dict[str, Any]] = getattr(self, f"_{name}")
        return call

    def _create_pipeline(self, region: str, p: Mapping[str, Any]) -> dict[str, Any]:
        name = p["PipelineName"]
        if name in self._pipelines:
            raise invalid(
                "Pipeline names must be unique within an AWS account and region. "
                f"Pipeline with name ({name}) already exists."
            )
        arn = f"arn:aws:sagemaker:{region}:{self._account}:pipeline/{name.lower()}"
        self._pipelines[name] = {
            "PipelineArn": arn,
            "PipelineName": name,
            "PipelineStatus": "Active",
            "RoleArn": p["RoleArn"],
            "PipelineDefinition": _checked(p["PipelineDefinition"]),
            "CreationTime": time.time(),
        }
        return {"PipelineArn": arn}

    def _update_pipeline(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        found = self._found(p["PipelineName"])
        if "PipelineDefinition" in p:
            found["PipelineDefinition"] = _checked(p["PipelineDefinition"])
        found["RoleArn"] = p.get("RoleArn", found["RoleArn"])
        found["LastModifiedTime"] = time.time()
        return {"PipelineArn": found["PipelineArn"]}

    def _describe_pipeline(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._found(p["PipelineName"]))

    def _delete_pipeline(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        found = self._found(p["PipelineName"])
        busy = {"Executing", "Stopping"}
        mine = [one for one in self._executions.values() if one.pipeline == found["PipelineName"]]
        if any(one.status in busy for one in mine):
            raise AwsError("ConflictException", "The pipeline has executions in progress.", 400)
        del self._pipelines[found["PipelineName"]]
        return {"PipelineArn": found["PipelineArn"]}

    def _start_pipeline_execution(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        if known := self._tokens.get(p["ClientRequestToken"]):
            return {"PipelineExecutionArn": known}
        found = self._found(p["PipelineName"])
        definition = json.loads(found["PipelineDefinition"])
        selected = None
        if selective := p.get("SelectiveExecutionConfig"):
            selected = {step["StepName"] for step in selective["SelectedSteps"]}
            if unknown := selected - {step["Name"] for step in definition["Steps"]}:
                raise invalid(f"Selected steps {sorted(unknown)} do not exist in the pipeline.")
        arn = f"{found['PipelineArn']}/execution/{uuid.uuid4().hex[:12]}"
        execution = _Execution(
            arn=arn,
            pipeline=found["PipelineName"],
            definition=definition,
            parameters=_parameters(definition, p.get("PipelineParameters", [])),
            display_name=p.get("PipelineExecutionDisplayName"),
            selected=selected,
        )
        self._executions[arn] = execution
        self._tokens[p["ClientRequestToken"]] = arn
        threading.Thread(target=self._run, args=(execution,), name=arn, daemon=True).start()
        return {"PipelineExecutionArn": arn}

    def _describe_pipeline_execution(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        execution = self._execution(p["PipelineExecutionArn"])
        return _present(
            {
                "PipelineArn": execution.arn.partition("/execution/")[0],
                "PipelineExecutionArn": execution.arn,
                "PipelineExecutionDisplayName": execution.display_name,
                "PipelineExecutionStatus": execution.status,
                "FailureReason": execution.reason,
                "CreationTime": execution.created,
            }
        )

    def _list_pipeline_executions(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        found = self._found(p["PipelineName"])["PipelineName"]
        rows = [
            _present(
                {
                    "PipelineExecutionArn": one.arn,
                    "PipelineExecutionStatus": one.status,
                    "PipelineExecutionDisplayName": one.display_name,
                    "PipelineExecutionFailureReason": one.reason,
                    "StartTime": one.created,
                }
            )
            for one in self._executions.values()
            if one.pipeline == found
        ]
        return {"PipelineExecutionSummaries": rows[::-1]}

    def _list_pipeline_execution_steps(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        execution = self._execution(p["PipelineExecutionArn"])
        rows = [
            _present(
                {
                    "StepName": step.name,
                    "StepStatus": step.status,
                    "FailureReason": step.reason,
                    "StartTime": step.started,
                    "EndTime": step.ended,
                    "Metadata": {"ProcessingJob": {"Arn": step.job}} if step.job else None,
                }
            )
            for step in execution.steps.values()
        ]
        return {"PipelineExecutionSteps": rows if p.get("SortOrder") == "Ascending" else rows[::-1]}

    def _stop_pipeline_execution(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        execution = self._execution(p["PipelineExecutionArn"])
        if execution.status != "Executing":
            raise AwsError("ConflictException", f"The execution is {execution.status}.", 400)
        execution.status, execution.stopping = "Stopping", True
        return {"PipelineExecutionArn": execution.arn}

    def _describe_processing_job(self, _: str, p: Mapping[str, Any]) -> dict[str, Any]:
        found = self._jobs.get(p["ProcessingJobName"])
        if found is None:
            raise invalid(f"Could not find requested job with name: {p['ProcessingJobName']}")
        return found

    def _found(self, name_or_arn: str) -> dict[str, Any]:
        for pipeline in self._pipelines.values():
            if name_or_arn in {pipeline["PipelineName"], pipeline["PipelineArn"]}:
                return pipeline
        raise AwsError("ResourceNotFound", f"Pipeline '{name_or_arn}' does not exist.", 400)

    def _execution(self, arn: str) -> _Execution:
        if arn not in self._executions:
            raise AwsError("ResourceNotFound", f"PipelineExecution '{arn}' does not exist.", 400)
        return self._executions[arn]

    def _run(self, execution: _Execution) -> None:
        """Runs in a thread: the steps in order, until one fails or the execution is stopped."""
        failed: _Step | None = None
        for described in _in_order(execution.definition["Steps"]):
            if execution.stopping:
                break
            if execution.selected is not None and described["Name"] not in execution.selected:
                continue
            step = _Step(described["Name"])
            with self._lock:
                execution.steps[step.name] = step
            self._run_step(execution, step, _filled(described["Arguments"], execution))
            if step.status == "Failed":
                failed = step
                break
        with self._lock:
            if execution.stopping:
                execution.status = "Stopped"
            elif failed is not None:
                execution.status = "Failed"
                execution.reason = "Step failure: One or multiple steps failed."
            else:
                execution.status = "Succeeded"

    def _run_step(self, execution: _Execution, step: _Step, arguments: Mapping[str, Any]) -> None:
        cluster = arguments["ProcessingResources"]["ClusterConfig"]
        hosts = [f"algo-{number + 1}" for number in range(int(cluster["InstanceCount"]))]
        if (refusal := _over_quota(cluster, arguments)) is not None:
            with self._lock:
                step.status, step.reason, step.ended = "Failed", refusal, time.time()
            return
        name = f"pipelines-{execution.arn[-12:]}-{step.name[:20]}-{uuid.uuid4().hex[:8]}"
        region = execution.arn.split(":")[3]
        step.job = f"arn:aws:sagemaker:{region}:{self._account}:processing-job/{name}"
        instances = [self._begin(host, hosts, arguments, region, step.job) for host in hosts]
        with self._lock:
            execution.instances = instances
            step.status = "Executing"
        codes = self._await(execution, instances)
        messages = [(one.folder / "message") for one in instances]
        said = " ".join(path.read_text()[:1000] for path in messages if path.exists())
        bad = [code for code in codes if code != 0]
        with self._lock:
            step.ended = time.time()
            if execution.stopping:
                step.status = "Stopped"
            elif bad:
                step.status = "Failed"
                code = bad[0] if bad[0] > 0 else 128 - bad[0]
                step.reason = f"ClientError: AlgorithmError: , exit code: {code}"
            else:
                step.status = "Succeeded"
            job = {"Succeeded": "Completed"}.get(step.status, step.status)
            self._jobs[name] = _present(
                {
                    "ProcessingJobName": name,
                    "ProcessingJobArn": step.job,
                    "ProcessingJobStatus": job,
                    "FailureReason": step.reason,
                    "ExitMessage": said[:1024] or None,
                    "ProcessingResources": arguments["ProcessingResources"],
                    "AppSpecification": arguments["AppSpecification"],
                    "CreationTime": step.started,
                }
            )
        for one in instances:
            shutil.rmtree(one.folder, ignore_errors=True)

    def _begin(
        self, host: str, hosts: list[str], arguments: Mapping[str, Any], region: str, job: str
    ) -> _Instance:
        folder = Path(tempfile.mkdtemp(prefix="sandbox-instance-"))
        config = folder / "resourceconfig.json"
        config.write_text(json.dumps({"current_host": host, "hosts": hosts}))
        container = arguments["AppSpecification"]
        words = [
            *container.get("ContainerEntrypoint", [_ENTRYPOINT]),
            *container.get("ContainerArguments", []),
        ]
        if words[0] == _ENTRYPOINT:
            words = [sys.executable, "-m", "vlm_runner", *words[1:]]
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "VLM_RUNNER_")) or name == "AWS_CA_BUNDLE"
        }
        environment = inherited | {
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": region,
            "HOME": str(folder),
            "PROCESSING_JOB_ARN": job,
            # In a container these are fixed paths below /opt/ml.
            "VLM_RUNNER_PROCESSING__RESOURCE_CONFIG": str(config),
            "VLM_RUNNER_PROCESSING__MESSAGE": str(folder / "message"),
            **arguments.get("Environment", {}),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(words, env=environment, cwd=folder, stdout=log, stderr=log)  # noqa: S603
        return _Instance(host, process, folder)

    def _await(self, execution: _Execution, instances: list[_Instance]) -> list[int]:
        """The exit codes; when one instance fails, the others are terminated."""
        terminated_at: float | None = None
        while True:
            codes = [one.process.poll() for one in instances]
            if all(code is not None for code in codes):
                return [one.process.returncode for one in instances]
            over = execution.stopping or any(code not in {None, 0} for code in codes)
            if over and terminated_at is None:
                terminated_at = time.monotonic()
                for one in instances:
                    if one.process.poll() is None:
                        one.process.send_signal(signal.SIGTERM)
            if terminated_at is not None and time.monotonic() - terminated_at > _TERM_SECONDS:
                for one in instances:
                    _kill(one.process)
            time.sleep(_POLL)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _checked(text: str) -> str:
    """The parsed definition, if it is valid; the sandbox runs Processing steps only."""
    try:
        definition = json.loads(text)
    except ValueError:
        raise invalid("Unable to parse pipeline definition. Invalid JSON.") from None
    if definition.get("Version") != "2020-12-01":
        raise invalid("Unable to parse pipeline definition. Version must be 2020-12-01.")
    names = [step.get("Name", "") for step in definition.get("Steps", [])]
    if not names or len(set(names)) != len(names) or not all(_STEP_NAME.fullmatch(name) for name in names):
        raise invalid("Unable to parse pipeline definition. Steps must have valid, unique names.")
    shape = _model().operation_model("CreateProcessingJob").input_shape
    known = _parameters(definition, [], required=False)
    for step in definition["Steps"]:
        if step.get("Type") != "Processing":
            raise invalid(f"The sandbox does not run steps of type {step.get('Type')}.")
        if missing := set(step.get("DependsOn", [])) - set(names):
            raise invalid(f"Unable to parse pipeline definition. Unknown dependencies: {sorted(missing)}.")
        arguments = _filled(step["Arguments"], known) | {"ProcessingJobName": "checked"}
        if shape is not None and (problems := violations(shape, arguments)):
            raise invalid(f"Unable to parse pipeline definition. Step {step['Name']}: {'; '.join(problems)}")
    return text


def _parameters(
    definition: Mapping[str, Any], given: list[dict[str, str]], *, required: bool = True
) -> dict[str, Any]:
    declared = {one["Name"]: one for one in definition.get("Parameters", [])}
    values = {one["Name"]: one["Value"] for one in given}
    if unknown := values.keys() - declared.keys():
        raise invalid(f"Unknown parameters: {sorted(unknown)}")
    found: dict[str, Any] = {}
    for name, one in declared.items():
        fallback = None if required else {"Integer": 1}.get(one["Type"], "arn:aws:iam::123456789012:role/any")
        value = values.get(name, one.get("DefaultValue", fallback))
        if value is None:
            raise invalid(f"Parameter {name} has no value.")
        found[name] = int(value) if one["Type"] == "Integer" else value
    return found


def _filled(value: Any, execution: "_Execution | Mapping[str, Any]") -> Any:
    """`value` with its functions evaluated."""
    parameters = execution.parameters if isinstance(execution, _Execution) else execution
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            kind, _, name = value["Get"].partition(".")
            if kind == "Parameters" and name in parameters:
                return parameters[name]
            raise invalid(f"Unable to parse pipeline definition. Unknown reference: {value['Get']}.")
        if set(value) == {"Std:Join"}:
            join = value["Std:Join"]
            return join["On"].join(str(_filled(one, execution)) for one in join["Values"])
        return {name: _filled(one, execution) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, execution) for one in value]
    return value


def _in_order(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done: set[str] = set()
    left, ordered = list(steps), []
    while left:
        ready = next((step for step in left if set(step.get("DependsOn", [])) <= done), None)
        if ready is None:
            raise invalid("Unable to parse pipeline definition. Steps depend on each other in a circle.")
        left.remove(ready)
        done.add(ready["Name"])
        ordered.append(ready)
    return ordered
