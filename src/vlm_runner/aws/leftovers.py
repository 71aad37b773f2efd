"""What a verification may leave behind, found by the name that all of it begins with, and taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlm_runner.core.names import aws_command, delete_command
from vlm_runner.errors import Conflict, NotFound
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.aws.answers import AwsService
    from vlm_runner.aws.bedrock import BedrockControl

Kind = Literal["job", "throughput", "deployment", "model", "schedule", "queue"]

_MODES: dict[ServingMode, Kind] = {
    ServingMode.PROVISIONED: "throughput",
    ServingMode.ON_DEMAND: "deployment",
}
_RUNNING = ("InProgress", "Stopping")


@dataclass(frozen=True, slots=True)
class Leftover:
    kind: Kind
    name: str
    id: str
    """What deletes it: an ARN, a name, or a queue's URL."""
    status: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{f' ({self.status})' if self.status else ''}"

    def command(self, region: str) -> str:
        """What a person can paste into a shell to take it away."""
        if self.kind == "throughput":
            return delete_command("provisioned", self.id, region)
        if self.kind == "deployment":
            return delete_command("on-demand", self.id, region)
        words = {
            "job": ["bedrock", "stop-model-customization-job", "--job-identifier"],
            "model": ["bedrock", "delete-custom-model", "--model-identifier"],
            "schedule": ["scheduler", "delete-schedule", "--name"],
            "queue": ["sqs", "delete-queue", "--queue-url"],
        }
        return aws_command(*words[self.kind], self.id, "--region", region)


class AwsLeftovers:
    def __init__(
        self, bedrock: BedrockControl, control: AwsService, scheduler: AwsService, sqs: AwsService
    ) -> None:
        self._bedrock, self._control, self._scheduler, self._sqs = bedrock, control, scheduler, sqs

    async def find(self, name: str) -> list[Leftover]:
        """
        All whose name begins with `name`, in the order in which it can be taken away: what bills by the
        hour first, and a model after what serves it.

        Raises:
            AwsRefused, AwsUnavailable: not everything could be listed, so nothing can be said.
        """
        return [one async for one in self._all(name) if one.name.startswith(name)]

    async def _all(self, name: str) -> AsyncIterator[Leftover]:
        for mode, kind in _MODES.items():
            async for one in self._bedrock.list_endpoints(mode, name):
                yield Leftover(kind, one.name, one.arn, one.status)
        for part in (self.jobs(name), self.models(), self.schedules(name), self.queues(name)):
            async for left in part:
                yield left

    async def jobs(self, name: str) -> AsyncIterator[Leftover]:
        """Those that have not ended: others cost nothing, and cannot be deleted."""
        for status in _RUNNING:
            pages = self._control.pages("ListModelCustomizationJobs", nameContains=name, statusEquals=status)
            async for page in pages:
                for item in page.parts("modelCustomizationJobSummaries"):
                    yield Leftover("job", item.name("jobName"), item.arn("jobArn"), status)

    async def models(self) -> AsyncIterator[Leftover]:
        async for model in self._bedrock.list_models():
            yield Leftover("model", model.name, model.arn)

    async def schedules(self, name: str) -> AsyncIterator[Leftover]:
        async for page in self._scheduler.pages("ListSchedules", NamePrefix=name):
            for item in page.parts("Schedules"):
                yield Leftover("schedule", item.name("Name"), item.name("Name"))

    async def queues(self, name: str) -> AsyncIterator[Leftover]:
        async for page in self._sqs.pages("ListQueues", QueueNamePrefix=name):
            # SQS leaves the list out where there are no queues.
            for url in page.names("QueueUrls"):
                yield Leftover("queue", url.rpartition("/")[2], url)

    async def remove(self, one: Leftover) -> None:
        """
        Ask AWS to take it away; `find` tells whether it is gone.

        What cannot be deleted yet is not an error, and neither is what is already gone.
        """
        try:
            match one.kind:
                case "throughput":
                    await self._bedrock.delete_endpoint(ServingMode.PROVISIONED, one.id)
                case "deployment":
                    await self._bedrock.delete_endpoint(ServingMode.ON_DEMAND, one.id)
                case "job":
                    await self._bedrock.stop_job(one.id)
                case "model":
                    await self._bedrock.delete_model(one.id)
                case "schedule":
                    await self._scheduler.call("DeleteSchedule", Name=one.id)
                case "queue":
                    await self._sqs.call("DeleteQueue", QueueUrl=one.id)
        except (Conflict, NotFound):
            return
