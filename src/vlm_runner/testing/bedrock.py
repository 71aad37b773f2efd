"""
Bedrock in memory: no kinder than what is known of Bedrock, and where that is not known, unkind.

It remembers client request tokens for a while only, job names for ever, and the names of throughputs for as
long as they live; what is being created can not be deleted; what was just created may not be seen yet.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.lowlevel import checkpoint

from vlm_runner.aws.fence import check_fence
from vlm_runner.aws.ports import CustomModel, Endpoint, FoundationModel, Job, RuntimeReply
from vlm_runner.errors import AwsRefused, Conflict, ModelNotReady, NotFound, QuotaExceeded
from vlm_runner.spec import ServingMode
from vlm_runner.testing.clock import EPOCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

T = TypeVar("T")


@dataclass(slots=True)
class Paid:
    """One line of the ledger: something that was created, and costs until it ends."""

    kind: str
    name: str
    arn: str
    created: float
    ended: float | None = None
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class _Job(Paid):
    stopped: float | None = None


@dataclass(slots=True)
class _Endpoint(Paid):
    tags: dict[str, str] = field(default_factory=dict[str, str])


class FakeBedrock:
    """Times in seconds, on the loop's clock. `ledger` has all that was ever created, in order."""

    def __init__(
        self,
        *,
        training_takes: float = 60.0,
        model_takes: float = 10.0,
        stopping_takes: float = 20.0,
        warming_takes: float = 60.0,
        deleting_takes: float = 0.0,
        visible_after: float = 0.0,
        token_memory: float = 60.0,
        model_units: int = 1,
        job_ends: str = "Completed",
        endpoint_ends: str = "",
        region: str = "us-east-1",
    ) -> None:
        self.training_takes, self.model_takes, self.stopping_takes = (
            training_takes,
            model_takes,
            stopping_takes,
        )
        self.warming_takes, self.visible_after, self.token_memory = warming_takes, visible_after, token_memory
        self.deleting_takes = deleting_takes
        """For so long a deployment is shown as Deleting, once it is deleted."""
        self.model_units, self.job_ends, self.endpoint_ends = model_units, job_ends, endpoint_ends
        self.losses: tuple[float | None, float | None] = (0.5, 0.6)
        self.internal_errors = 0
        """So many jobs, the first ones, end by an internal error before they train."""
        self.odd_status: str | None = None
        """Told instead of InProgress and Creating: a word that no version knows."""
        self.models_deleted: set[str] = set()
        self._model_tags: dict[str, dict[str, str]] = {}
        self.stale: list[tuple[float, float]] = []
        """Periods, on the loop's clock, in which reads are stale: they find nothing."""
        self.ledger: list[Paid] = []
        self.calls: Counter[str] = Counter()
        self.before_each: Callable[[], None] = lambda: None
        """What time alone brings about, done before any call is answered."""
        self._region = region
        self._jobs: dict[str, _Job] = {}
        self._endpoints: dict[str, _Endpoint] = {}
        self._gone_at: dict[str, float] = {}
        self._tokens: dict[str, tuple[float, Paid]] = {}

    # What tests ask.

    @property
    def jobs_created(self) -> int:
        return sum(paid.kind == "job" for paid in self.ledger)

    @property
    def jobs_billed(self) -> int:
        """Without those that ended by an internal error before they trained."""
        return sum(not self._errs(job) for job in self._jobs.values())

    @property
    def endpoints_created(self) -> int:
        return sum(paid.kind != "job" for paid in self.ledger)

    @property
    def alive(self) -> list[str]:
        """ARNs of throughputs and deployments that bill."""
        return list(self._endpoints)

    @property
    def invisible(self) -> set[str]:
        """ARNs of those that reads do not find yet."""
        return {arn for arn, one in self._endpoints.items() if not self._visible(one)}

    def training(self) -> list[str]:
        """ARNs of jobs that have not ended."""
        return [job.arn for job in self._jobs.values() if self._job_status(job) in {"InProgress", "Stopping"}]

    def tags_of(self, arn: str) -> dict[str, str]:
        """Of an endpoint or a model, to be changed."""
        return self._tags_of(arn)

    def forget_endpoint(self, arn: str) -> None:
        """Somebody else deletes it."""
        self._end(self._endpoints.pop(arn))

    def delete_by_name(self, name: str) -> bool:
        """What a schedule does; False: not yet, or there is nothing of that name (yet)."""
        found = _named(self._endpoints, name)
        if found is None or self._endpoint_status(found) == "Creating":
            return False
        self._end(self._endpoints.pop(found.arn))
        return True

    # Applying creates; a request that was sent may be applied later than its sender lives.

    def apply_job(self, request: Mapping[str, Any]) -> str:
        name, token = str(request["jobName"]), str(request["clientRequestToken"])
        if (known := self._remembered(token)) is not None:
            return known.arn
        if name in self._jobs:
            raise AwsRefused("The provided job name is currently in use.", code="ValidationException")
        arn = f"arn:aws:bedrock:{self._region}:123456789012:model-customization-job/{name}"
        job = self._jobs[name] = _Job("job", name, arn, self._now(), request=dict(request))
        self._enter(token, job)
        return arn

    def apply_endpoint(self, mode: ServingMode, request: Mapping[str, Any]) -> str:
        provisioned = mode is ServingMode.PROVISIONED
        name = str(request["provisionedModelName" if provisioned else "modelDeploymentName"])
        token = str(request["clientRequestToken"])
        known = self._remembered(token)
        if known is not None and known.arn in self._endpoints:
            return known.arn
        if any(one.name == name for one in self._endpoints.values()):
            raise AwsRefused("The provided name is currently in use.", code="ValidationException")
        model = self._model(str(request["modelId" if provisioned else "modelArn"]))
        if model is None or model.status != "Active":
            raise NotFound("The provided custom model could not be found.", code="ResourceNotFoundException")
        units = int(request.get("modelUnits", 1))
        if len(self._endpoints) + units > self.model_units:
            raise QuotaExceeded("No model units are left.", code="ServiceQuotaExceededException")
        kind = "provisioned-model" if provisioned else "custom-model-deployment"
        arn = f"arn:aws:bedrock:{self._region}:123456789012:{kind}/{name}-{len(self.ledger)}"
        tags = {str(tag["key"]): str(tag["value"]) for tag in request.get("tags", ())}
        made = _Endpoint(kind, name, arn, self._now(), request=dict(request), tags=tags)
        self._endpoints[arn] = made
        self._enter(token, made)
        return arn

    # The port.

    async def foundation_model(self, model_id: str) -> FoundationModel | None:
        await self._count("foundation_model")
        return FoundationModel(model_id, "ACTIVE", ("FINE_TUNING",), ("PROVISIONED",))

    async def find_job(self, name_or_arn: str) -> Job | None:
        await self._count("find_job")
        job = _named(self._jobs, name_or_arn)
        if job is None or not self._visible(job):
            return None
        status = self._job_status(job)
        model = self._model_arn(job) if status == "Completed" else None
        shown = self.odd_status or status if status == "InProgress" else status
        failure, details = ("The data was bad." if status == "Failed" else None), dict[str, str]()
        if self._errs(job) and status == "Failed":
            failure = "Encountered an internal error when processing the request."
            details = {"validation": "Failed", "training": "NotStarted"}
        token = str(job.request["clientRequestToken"])
        return Job(job.arn, job.name, shown, token, model, failure, details, *self.losses)

    async def create_job(self, request: Mapping[str, Any]) -> str:
        await self._count("create_job", pays=True)
        return self.apply_job(request)

    async def stop_job(self, name_or_arn: str) -> None:
        await self._count("stop_job")
        job = _named(self._jobs, name_or_arn)
        if job is not None and job.stopped is None and self._job_status(job) == "InProgress":
            job.stopped = self._now()

    async def find_model(self, name_or_arn: str) -> CustomModel | None:
        await self._count("find_model")
        return self._model(name_or_arn)

    async def list_models(self) -> AsyncIterator[CustomModel]:
        await self._count("list_models")
        for job in list(self._jobs.values()):
            found = self._model(self._model_arn(job))
            if found is not None:
                yield found

    async def delete_model(self, name_or_arn: str) -> None:
        await self._count("delete_model")
        served = {
            str(one.request.get("modelId", one.request.get("modelArn"))) for one in self._endpoints.values()
        }
        if name_or_arn in served:
            raise Conflict("The model is being served.", code="ConflictException")
        self.models_deleted.add(name_or_arn)

    async def find_endpoint(self, mode: ServingMode, name_or_arn: str) -> Endpoint | None:  # noqa: ARG002
        await self._count("find_endpoint")
        found = _named(self._endpoints, name_or_arn)
        return None if found is None or not self._visible(found) else self._endpoint(found)

    async def create_endpoint(self, mode: ServingMode, request: Mapping[str, Any]) -> str:
        await self._count("create_endpoint", pays=True)
        return self.apply_endpoint(mode, request)

    async def delete_endpoint(self, mode: ServingMode, name_or_arn: str) -> bool:  # noqa: ARG002
        await self._count("delete_endpoint")
        found = _named(self._endpoints, name_or_arn)
        if found is None:
            return True
        if self._endpoint_status(found) in {"Creating", "Deleting"}:
            return False
        if self.deleting_takes and found.kind == "custom-model-deployment":
            self._gone_at[found.arn] = self._now() + self.deleting_takes
        else:
            self._end(self._endpoints.pop(found.arn))
        return True

    async def list_endpoints(self, mode: ServingMode, name_contains: str) -> AsyncIterator[Endpoint]:
        await self._count("list_endpoints")
        kind = "provisioned-model" if mode is ServingMode.PROVISIONED else "custom-model-deployment"
        for one in list(self._endpoints.values()):
            if name_contains in one.name and one.kind == kind and self._visible(one):
                yield self._endpoint(one)

    async def tags(self, arn: str) -> Mapping[str, str]:
        await self._count("tags")
        return dict(self._tags_of(arn))

    async def tag(self, arn: str, tags: Mapping[str, str]) -> None:
        await self._count("tag")
        self._tags_of(arn).update(tags)

    async def reply(self, model_id: str) -> RuntimeReply:
        """What the runtime answers for `model_id`, an endpoint's ARN or a foundation model."""
        await self._count("reply")
        if model_id.startswith("arn:"):
            endpoint = self._existing(model_id)
            if self._endpoint_status(endpoint) not in {"InService", "Active"}:
                raise ModelNotReady("The model is not ready.")
        return RuntimeReply(text="An answer.", input_tokens=10, output_tokens=3, stop_reason="end_turn")

    # Inside.

    async def _count(self, operation: str, *, pays: bool = False) -> None:
        await checkpoint()
        self.before_each()
        for arn in [arn for arn, gone_at in self._gone_at.items() if self._now() >= gone_at]:
            del self._gone_at[arn]
            self._end(self._endpoints.pop(arn))
        if pays:
            check_fence()
        self.calls[operation] += 1

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _visible(self, paid: Paid) -> bool:
        if any(start <= self._now() < end for start, end in self.stale):
            return False
        return self._now() >= paid.created + self.visible_after

    def _remembered(self, token: str) -> Paid | None:
        when, paid = self._tokens.get(token, (float("-inf"), None))
        return paid if self._now() - when < self.token_memory else None

    def _enter(self, token: str, paid: Paid) -> None:
        self._tokens[token] = (self._now(), paid)
        self.ledger.append(paid)

    def _end(self, paid: Paid) -> None:
        paid.ended = self._now()

    def _tags_of(self, arn: str) -> dict[str, str]:
        for job in self._jobs.values():
            if self._model_arn(job) == arn and self._model(arn) is not None:
                given = {str(tag["key"]): str(tag["value"]) for tag in job.request["customModelTags"]}
                return self._model_tags.setdefault(arn, given)
        return self._existing(arn).tags

    def _existing(self, arn: str) -> _Endpoint:
        found = self._endpoints.get(arn)
        if found is None:
            raise NotFound(f"{arn} does not exist.", code="ResourceNotFoundException")
        return found

    def _job_status(self, job: _Job) -> str:
        now, ends = self._now(), job.created + self.training_takes
        if job.stopped is not None:
            return "Stopped" if now >= job.stopped + self.stopping_takes else "Stopping"
        if self._errs(job):
            return "Failed" if now >= job.created + min(90.0, self.training_takes) else "InProgress"
        return self.job_ends if now >= ends else "InProgress"

    def _errs(self, job: _Job) -> bool:
        return list(self._jobs).index(job.name) < self.internal_errors

    def _model_arn(self, job: _Job) -> str:
        return f"arn:aws:bedrock:{self._region}:123456789012:custom-model/{job.name}"

    def _model(self, arn: str) -> CustomModel | None:
        for job in self._jobs.values():
            if arn in self.models_deleted:
                return None
            if self._model_arn(job) == arn and self._job_status(job) == "Completed":
                ready = self._now() >= job.created + self.training_takes + self.model_takes
                status = "Active" if ready else "Creating"
                name = str(job.request["customModelName"])
                return CustomModel(arn, status, None, name, EPOCH + timedelta(seconds=job.created))
        return None

    def _endpoint_status(self, one: _Endpoint) -> str:
        if one.arn in self._gone_at:
            return "Deleting"  # of a deployment (Nova 2 user guide, delete-custom-model-deployment)
        if self._now() < one.created + self.warming_takes:
            return "Creating"
        return self.endpoint_ends or ("InService" if one.kind == "provisioned-model" else "Active")

    def _endpoint(self, one: _Endpoint) -> Endpoint:
        status = self._endpoint_status(one)
        shown = self.odd_status or status if status == "Creating" else status
        failure = "No capacity." if status == "Failed" else None
        model = str(one.request.get("modelId", one.request.get("modelArn")))
        return Endpoint(one.arn, one.name, shown, failure, model, EPOCH + timedelta(seconds=one.created))


P = TypeVar("P", bound=Paid)


def _named(things: Mapping[str, P], name_or_arn: str) -> P | None:
    return next((one for one in things.values() if name_or_arn in {one.name, one.arn}), None)
