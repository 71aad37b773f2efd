"""What is promised about every way that a run can take."""

from __future__ import annotations

import typing
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.histories import AT, SERVED, after, begun, entry, event_of, happy_runs
from vlm_runner.core.decide import IntendServing, RequestServing, SubmitJob, decide
from vlm_runner.core.events import Entry, Event
from vlm_runner.core.phases import SERVING_ONLY, TRANSITIONS, WITHOUT_SERVING, Route, Table
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.transitions import (
    FIELDS,
    IllegalTransition,
    evolve,
    fold,
)

TABLES = pytest.mark.parametrize(
    "table", [TRANSITIONS, WITHOUT_SERVING, SERVING_ONLY], ids=["serving", "no serving", "serving only"]
)

RETURNED: dict[Phase, set[str]] = {
    Phase.STAGING: {"places_claimed", "images_staged", "run_failed", "cancel_requested"},
    Phase.RECORDING: {"records_written", "run_failed", "cancel_requested"},
    Phase.SUBMITTING: {
        "job_intended", "job_submitted", "create_uncertain", "create_refused", "run_failed",
        "cancel_requested",
    },
    Phase.TRAINING: {
        "job_completed", "job_failed", "job_stalled", "job_erred", "run_failed", "cancel_requested",
    },
    Phase.REQUESTING: {
        "serving_intended", "serving_requested", "create_uncertain", "create_refused", "run_failed",
        "cancel_requested",
    },
    Phase.WARMING: {"endpoint_ready", "endpoint_failed", "run_failed", "cancel_requested"},
    Phase.TESTING: {"tests_answered", "endpoint_failed", "run_failed", "cancel_requested"},
    Phase.SERVING: {"serving_ended", "endpoint_failed", "run_failed"},
    Phase.RELEASING: {"released", "handed_over", "cancel_requested"},
    Phase.REPORTING: {"report_written"},
    Phase.DONE: {"released"},
}  # fmt: skip
"""What the steps, the driver and `on_error` give in each phase: their signatures, `decide`."""


def reachable(table: Table, start: Phase, *, avoiding: frozenset[Phase] = frozenset()) -> set[Phase]:
    found, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for (source, _), target in table.items():
            if source is here and target not in found and target not in avoiding:
                found.add(target)
                todo.append(target)
    return found


@TABLES
@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_reaches_done(table: Table, phase: Phase) -> None:
    assert Phase.DONE in reachable(table, phase)


@pytest.mark.parametrize("phase", [Phase.REQUESTING, Phase.WARMING, Phase.TESTING, Phase.SERVING])
@TABLES
def test_no_way_from_renting_to_done_avoids_releasing(table: Table, phase: Phase) -> None:
    assert Phase.DONE not in reachable(table, phase, avoiding=frozenset({Phase.RELEASING}))


@TABLES
def test_a_job_that_may_run_is_left_only_by_its_end_or_through_releasing(table: Table) -> None:
    left = {
        kind
        for (source, kind), target in table.items()
        if source in {Phase.SUBMITTING, Phase.TRAINING}
        and target not in {Phase.SUBMITTING, Phase.TRAINING, Phase.RELEASING}
    }

    assert left == {"job_completed"}


@pytest.mark.parametrize("phase", list(Phase))
def test_the_table_takes_what_can_be_returned_and_nothing_else(phase: Phase) -> None:
    assert {kind for source, kind in TRANSITIONS if source is phase} == RETURNED[phase]


def test_without_serving_only_the_way_out_of_training_differs() -> None:
    differing = {row for row in TRANSITIONS | WITHOUT_SERVING if TRANSITIONS[row] != WITHOUT_SERVING[row]}

    assert differing == {(Phase.TRAINING, "job_completed")}
    assert begun(sections={"serving": {"mode": "none"}}).route.table is WITHOUT_SERVING


def test_a_run_that_serves_never_comes_to_a_job() -> None:
    """Whatever of its two first phases it begins with."""
    for route in (Route.SERVE, Route.STAGE_AND_SERVE):
        met = reachable(route.table, route.first)

        assert met >= set(route.phases)
        assert not met & {Phase.SUBMITTING, Phase.TRAINING}


def test_every_event_but_those_about_creates_has_a_field_of_the_run() -> None:
    union, *_ = typing.get_args(Event)
    kinds = {member.model_fields["kind"].default for member in typing.get_args(union)}
    own = {"run_created", "create_uncertain", "create_refused"}

    assert set(FIELDS) == kinds - own
    assert set(FIELDS.values()) <= set(Run.model_fields)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_the_fold_of_a_history_is_the_run(data: st.DataObject) -> None:
    """Whatever way the table allows, what was evolved step by step is what its history tells."""
    mode = data.draw(st.sampled_from(["provisioned", "on-demand", "none"]))
    serves = data.draw(st.sampled_from([None, SERVED, SERVED.model_copy(update={"records": None})]))
    if serves is not None and mode == "none":
        mode = "provisioned"
    run = begun(sections={"serving": {"mode": mode}}, serves=serves)
    history = [Entry(sequence=1, at=AT, event=run.created)]
    for _ in range(data.draw(st.integers(0, 25))):
        kinds = _possible(run)
        if not kinds:
            break
        new = entry(run, event_of(data.draw(st.sampled_from(kinds)), run))
        run = evolve(run, new)
        history.append(new)

    assert fold(history) == run


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_way_ends_with_something_rented_and_not_told(data: st.DataObject) -> None:
    run = begun(serves=data.draw(st.sampled_from([None, SERVED])))
    while not run.done:
        run = after(run, event_of(data.draw(st.sampled_from(_possible(run))), run))

    assert not run.may_bill or run.handed_over is not None
    assert run.serving_intent is None or run.released is not None or run.handed_over is not None


def _possible(run: Run) -> list[str]:
    """The events that can really come next: the facts of a run rule some rows of the table out."""
    kinds = [kind for source, kind in run.route.table if source is run.phase]
    impossible: set[str] = set()
    if run.phase is Phase.SUBMITTING:
        intended = run.job_intent is not None and run.refused_job is None
        impossible = {"job_intended"} if intended else {"job_submitted", "create_uncertain", "create_refused"}
    if run.phase is Phase.REQUESTING:
        intended = run.serving_intent is not None and run.refused_serving is None
        some = {"serving_requested", "create_uncertain", "create_refused"}
        impossible = {"serving_intended"} if intended else some
    if run.phase is Phase.RELEASING and (run.serving is None or run.cancelled or run.reason):
        impossible = {"handed_over"}
    if run.cancelled is not None:
        impossible |= {"cancel_requested"}
    return sorted(set(kinds) - impossible)


def test_what_cannot_happen_is_refused() -> None:
    with pytest.raises(IllegalTransition, match="'released' cannot happen in phase 'staging'"):
        after(begun(), event_of("released", begun()))


def test_a_gap_in_the_history_is_refused() -> None:
    run = begun()
    late = Entry(sequence=3, at=AT, event=event_of("images_staged", run))

    with pytest.raises(IllegalTransition, match="entry 3 follows 1"):
        evolve(run, late)


def test_every_create_is_preceded_by_its_saved_intent() -> None:
    """`decide` asks for a create only where its request is in the checkpoint, word for word."""
    for run, _ in happy_runs():
        if run.done:
            continue
        command = decide(run)
        if isinstance(command, SubmitJob):
            assert command.intent is run.job_intent
        if isinstance(command, RequestServing):
            assert command.intent is run.serving_intent


def test_a_refused_create_is_intended_anew() -> None:
    run = next(run for run, _ in happy_runs() if run.serving_intent is not None)
    refused = after(run, event_of("create_refused", run))

    assert isinstance(decide(run), RequestServing)
    assert isinstance(decide(refused), IntendServing)


def test_every_phase_is_met_on_the_happy_path() -> None:
    assert list(dict.fromkeys(run.phase for run, _ in happy_runs())) == [*Route.WHOLE.phases, Phase.DONE]
    served = [run.phase for run, _ in happy_runs(serves=SERVED)]
    assert list(dict.fromkeys(served)) == [*Route.SERVE.phases, Phase.DONE]


def test_rows_lead_forward_or_stay() -> None:
    """No run goes back: so it can end."""
    order = list(Phase)

    for (source, kind), target in chain(TRANSITIONS.items(), WITHOUT_SERVING.items(), SERVING_ONLY.items()):
        # Back only as often as `erred_before_training` allows.
        assert order.index(target) >= order.index(source) or kind == "job_erred"
