"""
Each rule of the protocol, removed in turn: something must go red.

A mutant is a change to the source of one function, as one would make it by mistake.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner import driver, reap
from vlm_runner.aws import answers, session
from vlm_runner.checkpoint import lease
from vlm_runner.cli import exit_codes
from vlm_runner.core import budget, decide, expiry, failure, intents, pace, run, transitions
from vlm_runner.ingest import records, verify
from vlm_runner.steps import (
    as_written,
    dead_man_switch,
    job,
    places,
    release,
    serving,
    stage,
    tagging,
    test_calls,
    undo,
    whose_account,
)
from vlm_runner.steps.registry import STEPS
from vlm_runner.testing import bedrock, store

from . import checks
from .checks import CHECKS, check

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Mutant:
    """Of `where.what`, `old` becomes `new`; `killers` are tried first."""

    rule: str
    where: Any
    what: str
    old: str
    new: str
    killers: tuple[str, ...] = ()


USERS = (
    driver, decide, failure, job, release, serving, lease, session,
    as_written, checks, places, reap, records, stage, test_calls,
)  # fmt: skip
"""Modules that call what is mutated by a name of their own."""

MUTANTS = [
    Mutant(
        "saves compare and swap", store.MemoryStore, "write",
        "if (None if there is None else there.version) != replacing:", "if False:", ("stale writer",),
    ),
    Mutant(
        "a job is looked up by name first", job, "_ours",
        "found = await ports.aws.bedrock.find_job(intent.name)", "found = None",
        ("crash after creating a job",),
    ),
    Mutant(
        "a rent is looked up by name first", serving, "_ours",
        "found = await ports.aws.bedrock.find_endpoint(intent.mode, intent.name)", "found = None",
        ("crash after renting",),
    ),
    Mutant(
        "the same token every time", job, "submit_job",
        "create_job(command.intent.request)",
        "create_job({**command.intent.request, 'clientRequestToken': __import__('uuid').uuid4().hex})",
        ("crash after creating a job",),
    ),
    Mutant(
        "the same name every time", job, "submit_job",
        "create_job(command.intent.request)",
        "create_job({**command.intent.request, 'jobName': 'vr-' + __import__('uuid').uuid4().hex})",
        ("crash after creating a job",),
    ),
    Mutant(
        "ownership is proved", job, "_ours", "found.token != intent.token", "False", ("foreign job",),
    ),
    Mutant(
        "the intent is saved before the effect", decide, "decide",
        "return IntendServing(run)",
        "return RequestServing(__import__('vlm_runner').core.intents.intend_serving(run), run.uid)",
        ("late rent, then cancel",),
    ),
    Mutant(
        "a doubtful save is read back", lease, "compare_and_swap",
        "found = await store.read(run_id)", "raise Fenced('as S3 says')", ("lost saves",),
    ),
    Mutant(
        "a write id tells our own save", lease, "compare_and_swap",
        "_write_id(found, store.locate(run_id)) == checkpoint.write_id", "False", ("lost saves",),
    ),
    Mutant(
        "the lease is checked between signing and sending", lease.Fence, "check",
        "if not self.holds():", "if False:", ("frozen buyer dies",),
    ),
    Mutant(
        "a rent of unknown fate is swept for", decide, "release",
        "if unsure_job or unsure_serving else 0.0", "if False else 0.0", ("late rent, then cancel",),
    ),
    Mutant(
        "a job of unknown fate is swept for", decide, "release",
        "if unsure_job or unsure_serving else 0.0", "if unsure_serving else 0.0", ("late job, then cancel",),
    ),
    Mutant(
        "a takeover doubts what its predecessor sent", driver.Driver, "_advance",
        "if claim.inherited and", "if False and", ("late rent, then takeover",),
    ),
    Mutant(
        "a lost answer is doubted", failure, "on_failure",
        "if failure.pays and may_have_created(error):", "if False:", ("delayed rent",),
    ),
    Mutant(
        "a takeover waits until it has itself seen silence", lease.Claim, "acquire",
        "unchanged_long_enough = clock.elapsed() - since >= timing.takeover_after",
        "unchanged_long_enough = "
        "(clock.now() - checkpoint.run.updated_at).total_seconds() >= timing.takeover_after",
        ("two at once",),
    ),
    Mutant(
        "letting go keeps the epoch", lease.Claim, "release", "holder=None,", "holder=None, epoch=0,",
        ("stop and resume",),
    ),
    Mutant(
        "no commitment is bought", intents, "intend_serving",
        '"modelUnits": run', '"commitmentDuration": "OneMonth", "modelUnits": run', ("cancel while warming",),
    ),
    Mutant(
        "a deletion is confirmed", release, "_delete_endpoints", "if not there:", "if True:",
        ("cancel while warming",),
    ),
    Mutant(
        "a rent that cannot be seen yet is not gone", decide, "release",
        "NOT_YET_VISIBLE - closed_for) if unseen", "0.0) if unseen",
        ("cancel of an unseen rent", "cancel of an unseen job"),
    ),
    Mutant(
        "a job is stopped on cancel", release, "_stop_job", "if command.job_name is None:", "if True:",
        ("late job, then cancel",),
    ),
    Mutant(
        "what bills is released when AWS stays away", failure, "_run_failed",
        "if run.phase in {Phase.RELEASING, Phase.REPORTING}:",
        "if run.phase in {Phase.RELEASING, Phase.REPORTING} or isinstance(error, AwsUnavailable):",
        ("model never answers",),
    ),
    Mutant(
        "doubt is recorded once", failure, "uncertain_create",
        'return None if known else CreateUncertain(what="job"', 'return CreateUncertain(what="job"',
        ("create away for an hour",),
    ),
    Mutant(
        "a definite refusal is recorded", failure, "_create_refused", "if not definite:", "if True:",
        ("quota, then resume",),
    ),
    Mutant(
        "the switch is set before the rent", serving, "request_serving",
        "deleted_at = await arm(command.switch, ports)", "deleted_at = None", ("nobody comes back",),
    ),
    Mutant(
        "without a switch that was asked for nothing is rented", serving, "request_serving",
        "deleted_at = await arm(command.switch, ports)",
        "deleted_at = None\n    try:\n        deleted_at = await arm(command.switch, ports)"
        "\n    except AwsRefused:\n        pass",
        ("no schedule to be had",),
    ),
    Mutant(
        "the switch is tried out before the training is paid", job, "submit_job",
        "await dead_man_switch.verify(command.switch_to_verify, ports)", "pass",
        ("a switch that cannot be used",),
    ),
    Mutant(
        "the switch moves with what is handed over", release, "hand_over",
        "await move(command.switch, command.expires_at, ports)", "pass",
        ("kept for longer than the switch",),
    ),
    Mutant(
        "a tag is read back", tagging, "put_tags",
        "there = await aws.bedrock.tags(arn)", "there = tags", ("kept, and a portal took its tag",),
    ),
    Mutant(
        "the switch goes with what is released", release, "release",
        "await disarm(command.switch, ports)", "pass", ("released with its switch",),
    ),
    Mutant(
        "a refusal to delete a schedule may pass", dead_man_switch, "disarm",
        "DISARM, AwsRefused, AwsUnavailable", "DISARM, AwsUnavailable",
        ("deletion of a schedule refused once",),
    ),
    Mutant(
        "no error ends a release", failure, "_policy",
        "if run.phase is Phase.RELEASING:", "if False:", ("release that fails for an hour",),
    ),
    Mutant(
        "what was deleted was not taken over", lease, "compare_and_swap",
        "if found is None and replacing is not None:", "if False:", ("deleted store",),
    ),
    Mutant(
        "what cannot be saved any more is released", undo, "release_unrecorded",
        "while not await _has_a_driver(last, store, ports, unreadable=fenced):", "while False:",
        ("store that fails for good",),
    ),
    Mutant(
        "what another process drives is left to it", undo, "_has_a_driver",
        "return found.run.uid == last.run.uid and found.holder != last.holder", "return False",
        ("taken over while warming",),
    ),
    Mutant(
        "a mark is looked for before a create", driver.Driver, "_step",
        "if command.pays:", "if False:", ("cancelled before the create",),
    ),
    Mutant(
        "a checkpoint keeps room for what follows", lease, "compare_and_swap",
        "if len(body) > MAX_BYTES - kept_free:", "if False:", ("spec that fills a checkpoint",),
    ),
    Mutant(
        "the questions are read before the rent", serving, "intend",
        "await questions_as_written(run, ports)", "pass", ("records replaced while training",),
    ),
    Mutant(
        "what is known is deleted before anything else is looked for", release, "_delete_endpoints",
        "if known is not None and await _may_be_there(mode, known, ports):", "if False:",
        ("throttled release",),
    ),
    Mutant(
        "one look is not believed", pace.Unseen, "is_gone",
        "return self.looks >= LOOKS_UNTIL_GONE and now - self.since >= after", "return True",
        ("one stale look in training",),
    ),
    Mutant(
        "one that lost an entry does not let go", lease.Claim, "release",
        "if self._lost_an_entry:", "if False:", ("bought and not saved",),
    ),
    Mutant(
        "the job is given what the run wrote", job, "submit_job",
        "await refuse_changed_objects(command.run, ports)", "pass", ("records swapped before the job",),
    ),
    Mutant(
        "the questions are what the run wrote", as_written, "questions_as_written",
        "await refuse_changed_objects(run, ports)", "pass",
        ("records swapped before the rent", "records swapped before the tests"),
    ),
    Mutant(
        "the model is asked what the run wrote", test_calls._Tests, "run",
        "await questions_as_written(self._run, self._ports)",
        "await read_questions(self._run, self._objects)", ("records swapped before the tests",),
    ),
    Mutant(
        "records are compared", verify, "refuse_changed", "if records != written.records:", "if False:",
        ("records swapped before the job",),
    ),
    Mutant(
        "images are compared", verify, "refuse_changed", "if now != before:", "if False:",
        ("image changed before the job",),
    ),
    Mutant(
        "markers are held against the images", verify, "refuse_damaged",
        "if intact(shard, marker, {}, sizes):", "if True:", ("image deleted under its marker",),
    ),
    Mutant(
        "the claim is looked at again before the first upload", stage, "stage_images",
        "await hold_places(run, opened, ports)", "pass", ("claim taken",),
    ),
    Mutant(
        "a claim that is gone is claimed anew", places, "_hold",
        "if await objects.put_if(key, body, replacing=None) is not None:", "if True:", ("claim deleted",),
    ),
    Mutant(
        "a place that is being deleted is not used", places, "_hold",
        "if (closed := ClosedPlace.parse(found.body)) is not None:",
        "if ClosedPlace.parse(found.body) is not None:\n        return\n    if (closed := None) is not None:",
        ("claim closed",),
    ),
    Mutant(
        "a place that another run took is not used", places, "_hold",
        "not in {Match.RECORDS, Match.IMAGES}:", "is None:", ("claim taken",),
    ),
    Mutant(
        "a job that does not move is reported", job, "await_job",
        "if command.stalled_after is not None and still >= command.stalled_after:", "if False:",
        ("job that hangs",),
    ),
    Mutant(
        "that a job does not move is reported once", decide, "decide",
        "patience = None if told else", "patience =", ("job that hangs",),
    ),
    Mutant(
        "a training has a deadline", budget, "_trained_too_long",
        "if limit is None or run.trained_from is None:", "if True:", ("job that hangs for ever",),
    ),
    Mutant(
        "a deadline holds on a clock that is behind", driver.Driver, "_latest_now",
        "return max(clock.now(), anchor + passed)",
        "return clock.now()", ("job that hangs for ever",),
    ),
    Mutant(
        "an internal error before the training is followed by another job", job, "_ended_badly",
        "erred_before_training(job.failure, job.details, erred)", "False", ("job that erred",),
    ),
    Mutant(
        "no more than one other job follows", failure, "erred_before_training",
        "JOB.again(erred + 1, 0.0)", "True", ("jobs that err",),
    ),
    Mutant(
        "no job follows one that trained", failure, "erred_before_training",
        'details.get("training") == "NotStarted"', "True", ("job that erred while training",),
    ),
    Mutant(
        "no job follows one that failed on its data", failure, "erred_before_training",
        'internal = failure is not None and "internal error" in failure.lower()', "internal = True",
        ("job that failed on its data",),
    ),
    Mutant(
        "the job that follows has another name", intents, "intend_job",
        "run.job_error.attempt", "0", ("job that erred",),
    ),
    Mutant(
        "jobs that erred are counted", decide, "decide",
        "error.attempt if error is not None else 0", "0", ("jobs that err",),
    ),
    Mutant(
        "what is known of the job that erred is no longer true", transitions, "evolve",
        '"job_intent", "job", "uncertain_job", "refused_job", "job_stall", "trained_from")', '"job_stall",)',
        ("job that erred",),
    ),
    Mutant(
        "a job that was lost is looked for at the release", run.Run, "may_train",
        'self.job_failure.status != "Gone"', "True", ("job lost for minutes",),
    ),
    Mutant(
        "a create with an answer that is not AWS's is in doubt", answers.AwsAnswer, "malformed",
        "UncertainCreate if self._create else AwsUnavailable", "AwsUnavailable",
        ("rent answered by a portal",),
    ),
    Mutant(
        "a list that is left out is not empty", answers.AwsAnswer, "parts",
        "if not isinstance(value, list):", "if value is None:\n        return []\n    if False:",
        ("reap behind a portal",),
    ),
    Mutant(
        "reap does not believe one list", reap, "_listed", "async for _ in spaced_looks(clock, gone_after)",
        "for _ in range(1)",
        ("reap with a stale list",),
    ),
    Mutant(
        "what reap cannot judge is unexplained", reap, "_judged",
        "return rented, ExpiryVerdict(outlived=False, reason=reason, explained=False), None", "return None",
        ("reap without tags",),
    ),
    Mutant(
        "what no readable run explains is unexplained", expiry, "judge",
        "return ExpiryVerdict(outlived=False, reason=unread, explained=False)",
        "return ExpiryVerdict(outlived=False, reason=unread)", ("reap without a checkpoint",),
    ),
    Mutant(
        "what is unexplained may still bill", reap, "may_still_bill",
        "one.verdict.outlived or not one.verdict.explained", "one.verdict.outlived",
        ("reap without a checkpoint",),
    ),
    Mutant(
        "tags are looked at several times", reap, "_listed",
        "if one.unread is not None or not one.rented.is_ours", "if False", ("reap with stale tags",),
    ),
    Mutant(
        "a purchase that was cut off is not let go", driver.Driver, "_step",
        "claim.settling() if command.pays else nullcontext()", "nullcontext()", ("cut off while renting",),
    ),
    Mutant(
        "in another account nothing is gone", whose_account, "refuse_other_account",
        "if caller.account != account:", "if False:", ("cancelled from another account",),
    ),
    Mutant(
        "an exit code does not hide a job that trains", exit_codes, "halted_exit_code",
        "billing = run.may_train or", "billing =", ("halted while training",),
    ),
]  # fmt: skip


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Any:
    def change(where: Any, what: str, old: str, new: str) -> None:
        kind = inspect.getattr_static(where, what)
        wrapper: Any = next((one for one in (classmethod, property) if isinstance(kind, one)), None)
        function: Any = kind.fget if isinstance(kind, property) else kind.__func__ if wrapper else kind
        source = textwrap.dedent(inspect.getsource(function))
        assert old in source, f"{what} reads otherwise now: mend the mutant"
        lines = source.replace(old, new).splitlines()
        first = next(number for number, line in enumerate(lines) if line.startswith(("def ", "async def ")))
        module = inspect.getmodule(function)
        assert module is not None
        space: dict[str, Any] = {}
        # Its globals are the module's own, so that what it calls can be mutated as well.
        code = compile("from __future__ import annotations\n" + "\n".join(lines[first:]), "mutant", "exec")
        exec(code, module.__dict__, space)
        mutant = space[what]
        monkeypatch.setattr(where, what, wrapper(mutant) if wrapper else mutant)
        for user in USERS:
            if user is not where and getattr(user, what, None) is function:
                monkeypatch.setattr(user, what, mutant)
        for command, step in STEPS.items():
            if step is function:
                monkeypatch.setitem(STEPS, command, mutant)

    return change


def killed_by(first: Iterable[str]) -> str | None:
    """The first world in which something goes wrong."""
    order = dict.fromkeys((*first, *CHECKS))
    for name in order:
        if wrong := check(name):
            return f"{name}: {wrong[0]}"
    return None


@pytest.mark.parametrize("name", CHECKS)
def test_every_world_is_green_with_all_rules(name: str) -> None:
    assert check(name) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_without_this_rule_something_goes_red(mutate: Any, mutant: Mutant) -> None:
    mutate(mutant.where, mutant.what, mutant.old, mutant.new)

    killer = killed_by(mutant.killers)

    print(f"{mutant.rule} -> {killer}")
    assert killer is not None


def test_a_loser_that_could_still_buy_would_undo_it(mutate: Any) -> None:
    """Two rules guard against it; without the check before sending, undoing saves the day alone."""
    mutate(lease.Fence, "check", "if not self.holds():", "if False:")
    alone = check("frozen buyer lives")
    mutate(
        undo,
        "undo_purchase",
        "not looks.show(await _undone(run, event, ports, store))",
        "False",
    )
    neither = check("frozen buyer lives")

    assert alone == []
    assert neither != []


def test_the_double_is_the_check_and_not_the_memory() -> None:
    """A Bedrock that remembered tokens for ever would hide a missing look-up."""
    assert bedrock.FakeBedrock().token_memory < 104
