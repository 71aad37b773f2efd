"""The steps that pay, and those that wait for what was paid for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vlm_runner.aws.errors import kind_of
from vlm_runner.aws.fence import set_fence
from vlm_runner.core.decide import AwaitEndpoint, AwaitJob, Release
from vlm_runner.core.events import EndpointFailed, EndpointReady, JobCompleted, JobFailed
from vlm_runner.core.names import NEVER, TAG_EXPIRES, TAG_UID
from vlm_runner.core.retry import REFUSED_WHILE_WAITING
from vlm_runner.core.run import Phase
from vlm_runner.errors import (
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    CredentialsError,
    LeaseExpired,
    NotFound,
    QuotaExceeded,
    Throttled,
    UncertainCreate,
)
from vlm_runner.spec import ServingMode
from vlm_runner.steps.job import await_job, submit_job
from vlm_runner.steps.release import hand_over, release
from vlm_runner.steps.serving import await_endpoint, request_serving
from vlm_runner.testing import World

from .world import Desk, command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.aws.ports import Job

SUBMIT = command(Phase.SUBMITTING, "job_intended")
REQUEST = command(Phase.REQUESTING, "serving_intended")
PROVISIONED = ServingMode.PROVISIONED


async def trained(desk: Desk) -> str:
    """A model that is Active, under the name by which `REQUEST` knows it."""
    arn = desk.bedrock.apply_job(SUBMIT.intent.request)
    await desk.clock.sleep(desk.bedrock.training_takes + desk.bedrock.model_takes)
    job = await desk.bedrock.find_job(arn)
    assert job is not None
    assert job.model_arn is not None
    return job.model_arn


async def rented(desk: Desk) -> str:
    request = REQUEST.intent.request | {"modelId": await trained(desk)}
    return desk.bedrock.apply_endpoint(PROVISIONED, request)


async def test_a_job_is_created_once_however_often_it_is_asked_for() -> None:
    desk = Desk(token_memory=0)

    first = await submit_job(SUBMIT, desk.ports)
    second = await submit_job(SUBMIT, desk.ports)

    assert (first.arn, first.adopted, second.adopted) == (second.arn, False, True)
    assert desk.bedrock.jobs_created == 1


async def test_a_foreign_job_under_our_name_is_a_loud_stop() -> None:
    desk = Desk()
    desk.bedrock.apply_job(SUBMIT.intent.request | {"clientRequestToken": "somebody-else"})

    with pytest.raises(AwsRefused, match="is not this run's"):
        await submit_job(SUBMIT, desk.ports)

    assert desk.bedrock.calls["create_job"] == 0


async def test_a_job_that_cannot_be_seen_yet_is_not_created_again() -> None:
    """Its name is in use, and so Bedrock refuses; the refusal is not adopted as anything else."""
    desk = Desk(visible_after=30, token_memory=0)
    await submit_job(SUBMIT, desk.ports)

    with pytest.raises(AwsRefused, match="in use"):
        await submit_job(SUBMIT, desk.ports)
    await desk.clock.sleep(30)
    found = await submit_job(SUBMIT, desk.ports)

    assert found.adopted
    assert desk.bedrock.jobs_created == 1


async def test_a_throughput_is_rented_once_however_often_it_is_asked_for() -> None:
    desk = Desk(token_memory=0)
    again = replace(
        REQUEST,
        intent=REQUEST.intent.model_copy(
            update={"request": REQUEST.intent.request | {"modelId": await trained(desk)}}
        ),
    )

    first = await request_serving(again, desk.ports)
    second = await request_serving(again, desk.ports)

    assert (first.arn, second.adopted) == (second.arn, True)
    assert desk.bedrock.endpoints_created == 1


async def test_a_foreign_throughput_under_our_name_is_a_loud_stop() -> None:
    desk = Desk()
    arn = await rented(desk)
    desk.bedrock._endpoints[arn].tags[TAG_UID] = "somebody else's"

    with pytest.raises(AwsRefused, match="lacks the tag"):
        await request_serving(REQUEST, desk.ports)


async def test_a_foreign_throughput_under_our_name_is_not_deleted_either() -> None:
    desk = Desk()
    arn = await rented(desk)
    desk.bedrock._endpoints[arn].tags[TAG_UID] = "somebody else's"
    await desk.clock.sleep(100)

    await release(_release("serving_intended", "cancel_requested"), desk.ports)

    assert desk.bedrock.alive == [arn]


async def test_a_lost_answer_is_told_as_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()

    async def lose(_: object) -> str:
        raise UncertainCreate("no answer")

    monkeypatch.setattr(desk.bedrock, "create_job", lose)

    with pytest.raises(UncertainCreate):
        await submit_job(SUBMIT, desk.ports)


@pytest.mark.parametrize("kind", ["job", "endpoint"])
async def test_a_lease_that_ran_out_between_signing_and_sending_buys_nothing(kind: str) -> None:
    desk = Desk()

    def stale() -> None:
        raise LeaseExpired("ran out")

    set_fence(stale)
    with pytest.raises(LeaseExpired):
        await (submit_job(SUBMIT, desk.ports) if kind == "job" else request_serving(REQUEST, desk.ports))
    set_fence(None)

    assert desk.bedrock.ledger == []


async def test_a_job_is_awaited_as_long_as_it_takes() -> None:
    desk = Desk(training_takes=5 * 3600)
    began = desk.clock.elapsed()
    arn = desk.bedrock.apply_job(SUBMIT.intent.request)

    event = await await_job(AwaitJob(arn), desk.ports)

    assert isinstance(event, JobCompleted)
    assert 5 * 3600 <= desk.clock.elapsed() - began < 5 * 3600 + 120


@pytest.mark.parametrize("ending", ["Failed", "Stopped"])
async def test_a_job_that_ended_badly_is_not_done(ending: str) -> None:
    desk = Desk(job_ends=ending)
    arn = desk.bedrock.apply_job(SUBMIT.intent.request)

    event = await await_job(AwaitJob(arn), desk.ports)

    assert isinstance(event, JobFailed)
    assert event.status == ending


async def test_a_loss_that_json_cannot_hold_is_left_out() -> None:
    desk = Desk()
    desk.bedrock.losses = (float("nan"), float("inf"))
    arn = desk.bedrock.apply_job(SUBMIT.intent.request)

    event = await await_job(AwaitJob(arn), desk.ports)

    assert isinstance(event, JobCompleted)
    assert (event.training_loss, event.validation_loss) == (None, None)


async def test_a_status_that_no_version_knows_is_waited_out_and_told() -> None:
    desk = Desk()
    desk.bedrock.odd_status = "Dreaming"
    arn = desk.bedrock.apply_job(SUBMIT.intent.request)

    event = await await_job(AwaitJob(arn), desk.ports)

    assert isinstance(event, JobCompleted)
    assert desk.troubles == ["unknown status 'Dreaming', still waiting"]


@pytest.mark.parametrize(("visible_after", "kind"), [(100, JobCompleted), (10_000, JobFailed)])
async def test_a_job_may_be_unknown_for_its_first_minutes_only(visible_after: float, kind: type) -> None:
    desk = Desk(visible_after=visible_after)
    arn = desk.bedrock.apply_job(SUBMIT.intent.request)

    assert isinstance(await await_job(AwaitJob(arn), desk.ports), kind)


def test_a_legacy_model_is_refused_and_not_waited_for() -> None:
    """Bedrock says so as ResourceNotFoundException."""
    message = (
        "Access denied. This Model is marked by provider as Legacy and you have not been actively using it"
    )

    assert kind_of("ResourceNotFoundException", 404, message) is AwsRefused
    assert kind_of("ResourceNotFoundException", 404, "no such job") is NotFound


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 429, Throttled),
        ("ServiceQuotaExceededException", 400, QuotaExceeded),
        ("ExpiredTokenException", 403, CredentialsError),
        ("AccessDeniedException", 403, AccessDenied),
        ("NewerThanThisVersion", 503, AwsUnavailable),
        ("NewerThanThisVersion", 429, Throttled),
        ("NewerThanThisVersion", 404, NotFound),
        ("NewerThanThisVersion", 400, AwsRefused),
    ],
)
def test_each_error_of_aws_has_its_policy(code: str, status: int, kind: type) -> None:
    assert kind_of(code, status) is kind


@pytest.mark.parametrize(
    ("away", "kind"), [(REFUSED_WHILE_WAITING.patience - 100, JobCompleted), (None, CredentialsError)]
)
async def test_credentials_may_be_expired_for_a_quarter_of_an_hour(
    monkeypatch: pytest.MonkeyPatch, away: float | None, kind: type
) -> None:
    desk = Desk(training_takes=3600)
    arn = desk.bedrock.apply_job(SUBMIT.intent.request)
    began, find = desk.clock.elapsed(), desk.bedrock.find_job

    async def expired(name: str) -> Job | None:
        if away is None or desk.clock.elapsed() - began < away:
            raise CredentialsError("ExpiredToken")
        return await find(name)

    monkeypatch.setattr(desk.bedrock, "find_job", expired)
    if kind is CredentialsError:
        with pytest.raises(CredentialsError):
            await await_job(AwaitJob(arn), desk.ports)
    else:
        assert isinstance(await await_job(AwaitJob(arn), desk.ports), kind)


async def test_no_number_of_passing_faults_fails_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(training_takes=86400)
    arn = desk.bedrock.apply_job(SUBMIT.intent.request)
    began, find = desk.clock.elapsed(), desk.bedrock.find_job

    async def away(name: str) -> Job | None:
        if desk.clock.elapsed() - began < 90_000:
            raise AwsUnavailable("503")
        return await find(name)

    monkeypatch.setattr(desk.bedrock, "find_job", away)

    assert isinstance(await await_job(AwaitJob(arn), desk.ports), JobCompleted)
    assert len(desk.troubles) > 1000


@pytest.mark.parametrize(("ends", "kind"), [("", EndpointReady), ("Failed", EndpointFailed)])
async def test_an_endpoint_is_awaited_to_its_end(ends: str, kind: type) -> None:
    desk = Desk(endpoint_ends=ends, warming_takes=1800)
    arn = await rented(desk)

    assert isinstance(await await_endpoint(AwaitEndpoint(PROVISIONED, arn), desk.ports), kind)


async def test_an_endpoint_that_somebody_deleted_has_failed() -> None:
    desk = Desk()
    arn = await rented(desk)
    desk.bedrock.forget_endpoint(arn)

    event = await await_endpoint(AwaitEndpoint(PROVISIONED, arn), desk.ports)

    assert isinstance(event, EndpointFailed)


def _release(*kinds: str, phase: Phase = Phase.REQUESTING) -> Release:
    found = command(phase, *kinds)
    assert isinstance(found, Release)
    return found


async def test_release_waits_until_what_is_creating_can_be_deleted() -> None:
    desk = Desk(warming_takes=2400)
    arn = await rented(desk)
    began = desk.clock.elapsed()

    released = await release(replace(_release(phase=Phase.RELEASING), endpoint_arn=arn), desk.ports)

    assert released.deleted == (arn,)
    assert desk.bedrock.alive == []
    assert 2400 <= desk.clock.elapsed() - began < 2600


async def test_release_of_what_is_gone_already_takes_as_long_as_it_takes_to_be_sure() -> None:
    desk = Desk()
    began = desk.clock.elapsed()

    released = await release(_release(phase=Phase.RELEASING), desk.ports)

    assert released.deleted == ()
    assert desk.clock.elapsed() - began == desk.ports.poll.gone_after


async def test_a_create_that_arrives_late_is_swept() -> None:
    """Its sender is dead, and the run is being released."""
    import asyncio

    desk = Desk()
    request = REQUEST.intent.request | {"modelId": await trained(desk)}
    asyncio.get_running_loop().call_later(290, lambda: desk.bedrock.apply_endpoint(PROVISIONED, request))

    released = await release(_release("serving_intended", "cancel_requested"), desk.ports)

    assert len(released.deleted) == 1
    assert desk.bedrock.alive == []


async def test_a_job_that_arrives_late_is_stopped() -> None:
    import asyncio

    desk = Desk(training_takes=10_000)
    asyncio.get_running_loop().call_later(290, lambda: desk.bedrock.apply_job(SUBMIT.intent.request))
    command = _release("job_intended", "cancel_requested", phase=Phase.SUBMITTING)

    released = await release(command, desk.ports)

    assert released.job_stopped
    assert desk.bedrock.training() == []


async def test_a_run_that_knows_what_it_created_does_not_sweep() -> None:
    desk = Desk(training_takes=10_000)
    desk.bedrock.apply_job(SUBMIT.intent.request)
    began = desk.clock.elapsed()

    released = await release(_release("cancel_requested", phase=Phase.TRAINING), desk.ports)

    assert released.job_stopped
    assert desk.clock.elapsed() - began < 60


async def test_a_job_that_cannot_be_seen_yet_is_stopped_when_it_can() -> None:
    """Found by cancelling at every point: not found is not gone."""
    desk = Desk(training_takes=10_000, visible_after=60)
    desk.bedrock.apply_job(SUBMIT.intent.request)

    released = await release(_release("cancel_requested", phase=Phase.TRAINING), desk.ports)

    assert released.job_stopped


async def test_a_job_of_unknown_status_is_stopped_and_awaited() -> None:
    desk = Desk(training_takes=10_000)
    desk.bedrock.odd_status = "Dreaming"
    desk.bedrock.apply_job(SUBMIT.intent.request)

    await release(_release("cancel_requested", phase=Phase.TRAINING), desk.ports)

    assert desk.bedrock.training() == []


async def test_a_refusal_to_delete_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    arn = await rented(desk)
    await desk.clock.sleep(100)
    delete, began = desk.bedrock.delete_endpoint, desk.clock.elapsed()

    async def denied(mode: ServingMode, name: str) -> bool:
        if desk.clock.elapsed() - began < 86400:
            raise AccessDenied("bedrock:DeleteProvisionedModelThroughput")
        return await delete(mode, name)

    monkeypatch.setattr(desk.bedrock, "delete_endpoint", denied)

    released = await release(replace(_release(phase=Phase.RELEASING), endpoint_arn=arn), desk.ports)

    assert released.deleted == (arn,)
    assert any("DeleteProvisioned" in text for text in desk.troubles)


@pytest.mark.parametrize("keep", [True, "2h"])
async def test_what_is_handed_over_says_when_it_expires(keep: bool | str) -> None:
    desk = Desk()
    arn = await rented(desk)
    wanted = command(Phase.RELEASING, serving={"keep": keep})

    event = await hand_over(replace(wanted, arn=arn), desk.ports)

    expires = event.expires_at
    tag = (await desk.bedrock.tags(arn))[TAG_EXPIRES]
    assert tag == (NEVER if expires is None else expires.isoformat(timespec="seconds"))
    assert (keep is True) == (expires is None)


async def test_a_tag_that_a_portal_took_is_put_again() -> None:
    """TagResource is answered by an empty object, as anybody can answer."""
    world = World(serving={"keep": "5h"})
    tag = world.bedrock.tag

    async def answered_by_a_portal(arn: str, tags: Mapping[str, str]) -> None:
        world.bedrock.tag = tag  # type: ignore[method-assign]

    world.bedrock.tag = answered_by_a_portal  # type: ignore[method-assign]

    run = await world.live()

    assert run.outcome == "succeeded"
    assert run.handed_over is not None
    assert run.handed_over.expires_at is not None
    expires = run.handed_over.expires_at.isoformat(timespec="seconds")
    assert world.bedrock.tags_of(run.handed_over.arn)[TAG_EXPIRES] == expires
    assert any("does not show vlm-runner:expires-at" in str(one) for one in world.signals)


async def test_without_the_right_to_tag_the_checkpoint_holds_the_expiry() -> None:
    world = World(serving={"keep": "5h"})

    async def denied(arn: str, tags: Mapping[str, str]) -> None:
        raise AccessDenied("bedrock:TagResource")

    world.bedrock.tag = denied  # type: ignore[method-assign]

    run = await world.live()

    assert run.outcome == "succeeded"
    assert run.handed_over is not None
    assert any("bedrock:TagResource" in str(one) for one in world.signals)


async def test_ours_is_told_by_its_tag() -> None:
    desk = Desk()

    assert (await desk.bedrock.tags(await rented(desk)))[TAG_UID] == REQUEST.uid
