"""What a run does next, and how what it creates is named."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.histories import SERVED, after, begun, created, event_of, happy_runs
from vlm_runner.core import names
from vlm_runner.core.decide import HandOver, Record, Release, decide, due
from vlm_runner.core.events import BudgetFacts, CancelRequested, ServingEnded
from vlm_runner.core.intents import intend_job, intend_serving
from vlm_runner.core.pace import QUIET, PollPace
from vlm_runner.core.phases import Route
from vlm_runner.core.run import Phase, Run, known

AWS_PATTERNS = {
    "JobName": r"[a-zA-Z0-9](-*[a-zA-Z0-9\+\-\.])*",
    "CustomModelName": r"([0-9a-zA-Z][_-]?){1,63}",
    "ModelDeploymentName": r"([0-9a-zA-Z][_-]?){1,63}",
    "ProvisionedModelName": r"([0-9a-zA-Z][_-]?)+",
}
TOKEN = r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,254}[a-zA-Z0-9])?"
RUN_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", fullmatch=True).filter(
    lambda text: ".." not in text
)
KINDS: tuple[names.Kind, ...] = ("job", "model", "throughput", "deployment")


def at(phase: Phase, *kinds: str) -> Run:
    serves = SERVED if phase is Phase.SERVING else None
    run = next(run for run, _ in happy_runs(serves=serves) if run.phase is phase)
    for kind in kinds:
        run = after(run, event_of(kind, run))
    return run


@given(RUN_IDS, st.sampled_from(KINDS))
def test_names_fit_all_patterns_of_aws(run_id: str, kind: names.Kind) -> None:
    name = names.resource_name(begun(run_id=run_id), kind)

    assert len(name) <= 48
    assert all(re.fullmatch(pattern, name) for pattern in AWS_PATTERNS.values())
    assert re.fullmatch(TOKEN, names.client_request_token(begun(run_id=run_id), kind))


@given(RUN_IDS)
def test_names_and_tokens_are_of_the_run_and_nothing_else(run_id: str) -> None:
    """Another process on another day derives the same; another run, kind or account does not."""
    here, again = begun(run_id=run_id), begun(run_id=run_id)
    others = [begun(run_id=run_id, uid="1" * 32), begun(run_id=run_id, account="210987654321")]

    assert names.resource_name(here, "job") == names.resource_name(again, "job")
    assert len({names.resource_name(here, kind) for kind in KINDS}) == len(KINDS)
    assert len({names.client_request_token(run, "job") for run in (here, *others)}) == 3


def test_the_request_carries_name_token_and_tags() -> None:
    job, serving = intend_job(at(Phase.SUBMITTING)), intend_serving(at(Phase.REQUESTING))

    assert (job.request["jobName"], job.request["clientRequestToken"]) == (job.name, job.token)
    assert {"key": names.TAG_UID, "value": "0" * 32} in serving.request["tags"]
    assert serving.request["provisionedModelName"] == serving.name


@pytest.mark.parametrize("takes", [True, False])
def test_held_out_rows_go_to_the_job_only_where_the_model_takes_a_validation_set(takes: bool) -> None:
    run = at(Phase.SUBMITTING)
    records = known(run.records).model_copy(
        update={"validation_uri": "s3://bucket/data/validation.jsonl", "validation_in_job": takes}
    )

    request = intend_job(run.model_copy(update={"records": records})).request

    assert ("validationDataConfig" in request) == takes


@pytest.mark.parametrize("mode", ["provisioned", "on-demand"])
def test_no_commitment_is_ever_asked_for(mode: str) -> None:
    """What is committed cannot be deleted for months."""
    run = next(
        run for run, _ in happy_runs(sections={"serving": {"mode": mode}}) if run.phase is Phase.REQUESTING
    )

    assert "commitmentDuration" not in json.dumps(intend_serving(run).request)


def test_requests_are_the_same_whenever_they_are_made() -> None:
    run = at(Phase.REQUESTING)
    later = run.model_copy(update={"updated_at": run.updated_at + timedelta(days=3)})

    assert intend_serving(run) == intend_serving(later)


def test_release_sweeps_only_where_a_create_is_of_unknown_fate() -> None:
    sure, unsure = at(Phase.RELEASING), at(Phase.REQUESTING, "serving_intended", "create_uncertain")
    unsure = after(unsure, *(event_of(kind, unsure) for kind in ("serving_requested", "endpoint_failed")))

    assert _release(sure).sweep_for == 0
    assert _release(unsure).sweep_for == QUIET.total_seconds()


def test_release_does_not_wait_for_time_that_has_passed_already() -> None:
    run = at(Phase.REQUESTING, "serving_intended", "create_uncertain", "cancel_requested")

    assert _release(run, closed_for=600).sweep_for == QUIET.total_seconds() - 600
    assert _release(run, closed_for=1e6).sweep_for == 0


def test_cancel_between_intent_and_answer_sweeps() -> None:
    assert _release(at(Phase.REQUESTING, "serving_intended", "cancel_requested")).sweep_for > 0
    assert _release(at(Phase.SUBMITTING, "job_intended", "cancel_requested")).sweep_for > 0


def test_cancel_after_a_definite_refusal_does_not_sweep() -> None:
    run = at(Phase.REQUESTING, "serving_intended", "create_refused", "cancel_requested")

    assert not run.may_bill
    assert _release(run).sweep_for == 0


def test_cancel_while_training_stops_the_job() -> None:
    command = _release(at(Phase.TRAINING, "cancel_requested"))

    assert command.job_name is not None
    assert command.endpoint_name is None


def test_a_kept_endpoint_is_handed_over_with_its_expiry() -> None:
    runs = happy_runs(sections={"serving": {"keep": "2h"}})
    run = next(run for run, _ in runs if run.phase is Phase.RELEASING)

    command = decide(run)

    assert isinstance(command, HandOver)
    assert command.expires_at == run.updated_at + timedelta(hours=2)


@pytest.mark.parametrize("ending", ["cancel_requested", "run_failed"])
def test_nothing_is_kept_of_a_run_that_did_not_go_well(ending: str) -> None:
    run = next(
        run for run, _ in happy_runs(sections={"serving": {"keep": True}}) if run.phase is Phase.TESTING
    )

    assert isinstance(decide(after(run, event_of(ending, run))), Release)


@pytest.mark.parametrize("phase", Route.WHOLE.phases)
def test_a_requested_cancel_comes_before_the_next_command_and_is_recorded_once(phase: Phase) -> None:
    run = at(phase)

    first = due(run, now=run.updated_at, cancel_reason="enough")

    assert (first is None) == (phase is Phase.REPORTING)
    if first is not None:
        assert first == CancelRequested(reason="enough")
        assert due(after(run, first), now=run.updated_at, cancel_reason="enough") is None


def test_what_is_served_is_ended_by_a_cancel_by_time_or_by_money_and_each_is_a_good_end() -> None:
    budget = BudgetFacts(max_cost=10.0, training=0.0, calls=0.0, per_hour=10.0, rent_seconds=1800.0)
    run = at(Phase.SERVING)
    limited = next(run for run, _ in happy_runs(serves=SERVED, budget=budget) if run.phase is Phase.SERVING)
    hour = run.updated_at + timedelta(hours=1)

    assert due(run, now=hour - timedelta(seconds=1), cancel_reason=None) is None
    assert due(run, now=hour, cancel_reason=None) == ServingEnded(reason="Its time is over.")
    assert due(run, now=run.updated_at, cancel_reason="enough") == ServingEnded(reason="enough")
    money = due(limited, now=limited.updated_at + timedelta(minutes=30), cancel_reason=None)
    assert isinstance(money, ServingEnded)
    assert "max_cost = $10.00" in money.reason
    ended = after(run, ServingEnded(reason="enough"))
    assert due(ended, now=hour, cancel_reason="enough") is None
    assert isinstance(decide(ended), Release)


def test_without_a_cancel_mark_nothing_comes_first() -> None:
    run = at(Phase.TRAINING)

    assert due(run, now=run.updated_at, cancel_reason=None) is None


def test_a_done_run_has_no_next_command() -> None:
    with pytest.raises(ValueError, match="is done"):
        decide(happy_runs()[-1][0])


def test_polls_slow_down_to_one_a_minute() -> None:
    pace = PollPace()
    delays = [pace.delay(looks, 0.5) for looks in range(20)]

    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (5.0, 60.0)
    assert pace.delay(10**9, 0.5) == 60.0


def test_ids_differ_where_specs_differ() -> None:
    assert names.default_run_id("a/cats", created().spec_fingerprint).startswith("cats-")
    assert isinstance(Record(created()), Record)


def _release(run: Run, closed_for: float = 0.0) -> Release:
    command = decide(run, closed_for=closed_for)
    assert isinstance(command, Release)
    return command
