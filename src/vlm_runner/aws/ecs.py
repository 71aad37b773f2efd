"""Starting a run as an ECS task, where a stack of deploy/template.yaml says how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.errors import AwsRefused, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.aws.answers import AwsService

CONTAINER = "runner"


@dataclass(frozen=True, slots=True)
class EcsTarget:
    """Where tasks run: the outputs of a stack."""

    cluster: str
    task_definition: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    assign_public_ip: str
    capacity: str
    checkpoint_uri: str
    checkpoint_kms_key: str | None = None
    """With which its tasks save; None: as the bucket does by default."""

    @classmethod
    def of(cls, outputs: Mapping[str, str], stack: str) -> EcsTarget:
        """
        Raises:
            ConfigurationError: they are not those of our template.
        """
        try:
            return cls(
                cluster=outputs["Cluster"],
                task_definition=outputs["TaskDefinition"],
                subnets=tuple(outputs["Subnets"].split(",")),
                security_groups=tuple(outputs["SecurityGroups"].split(",")),
                assign_public_ip=outputs["AssignPublicIp"],
                capacity=outputs["Capacity"],
                checkpoint_uri=outputs["CheckpointUri"],
                checkpoint_kms_key=outputs.get("CheckpointKmsKey"),
            )
        except KeyError as missing:
            raise ConfigurationError(
                f"The stack {stack} has no output {missing}.", hint="Make it from deploy/template.yaml."
            ) from None


class Ecs:
    def __init__(self, cloudformation: AwsService, ecs: AwsService) -> None:
        self._cloudformation, self._ecs = cloudformation, ecs

    async def place(self, stack: str) -> EcsTarget:
        answer = await self._cloudformation.call("DescribeStacks", about=stack, StackName=stack)
        outputs = answer.only("Stacks").optional_parts("Outputs")
        return EcsTarget.of({item.name("OutputKey"): item.text("OutputValue") for item in outputs}, stack)

    async def run_task(self, place: EcsTarget, command: Sequence[str], *, token: str, run_id: str) -> str:
        """
        The ARN of the task that runs `command`; the same token is the same task.

        Raises:
            AwsRefused: ECS has no room for it, or will not run it.
        """
        answer = await self._ecs.call(
            "RunTask",
            cluster=place.cluster,
            taskDefinition=place.task_definition,
            count=1,
            clientToken=token,
            startedBy="vlm-runner",
            capacityProviderStrategy=[{"capacityProvider": place.capacity, "weight": 1}],
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": list(place.subnets),
                    "securityGroups": list(place.security_groups),
                    "assignPublicIp": place.assign_public_ip,
                }
            },
            overrides={"containerOverrides": [{"name": CONTAINER, "command": list(command)}]},
            tags=[{"key": "vlm-runner:run-id", "value": run_id}],
        )
        for failure in answer.optional_parts("failures"):
            reason, detail = failure.message("reason"), failure.message("detail")
            raise AwsRefused(
                f"RunTask: {reason or 'no reason given'} ({detail or 'no detail'}).",
                hint="The run is saved; give the same command again later.",
                operation="RunTask",
            )
        return answer.only("tasks").arn("taskArn")
