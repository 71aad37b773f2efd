"""What the tests of this folder share: scenarios, and a run that is disturbed and then gone on with."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from vlm_runner.checkpoint.document import from_bytes
from vlm_runner.checkpoint.local import LocalStore
from vlm_runner.cli.exit_codes import STILL_BILLING, STOPPED, halted_exit_code, run_exit_code
from vlm_runner.cli.run_view import RunView
from vlm_runner.core.names import TAG_EXPIRES, TAG_UID
from vlm_runner.core.retry import DISARM
from vlm_runner.core.signals import Trouble
from vlm_runner.errors import CheckpointError, VlmRunnerError
from vlm_runner.models import load_catalogue
from vlm_runner.reap import find_rented, may_still_bill
from vlm_runner.spec import ServingMode
from vlm_runner.steps.prepare_serving import ServeOptions
from vlm_runner.testing import Crash, FakeBedrock, FakeClock, Fault, Plan, Process, World, run_virtual
from vlm_runner.testing.faults import CREATES, FREEZES, ONLY_CREATES, ONLY_READS, READS
from vlm_runner.testing.world import outlive

if TYPE_CHECKING:
    from tests.crash.incidents import Incident, Repair
    from vlm_runner.core.run import Run

STORES = ("memory", "local", "s3")
CANCEL_AT = 100.0
"""Seconds of the loop after the beginning: while the job of the happy path is training."""
LATE_ARRIVALS = 400.0

Points = Sequence[dict[int, Fault]]

OUTCOMES = {
    "happy": {"succeeded"},
    "job failed": {"failed"},
    "throughput failed": {"failed"},
    "cancelled": {"cancelled"},
    "not seen at once": {"succeeded"},
    "kept": {"succeeded"},
    "on demand": {"succeeded"},
    "job hangs": {"failed"},
    "job erred": {"succeeded"},
    "dead man's switch": {"succeeded"},
    "served again": {"succeeded"},
    "served for a while": {"succeeded"},
}
SERVED_AGAIN = {
    "served again": ServeOptions(rows=2, mode=ServingMode.PROVISIONED, compare_base=True),
    "served for a while": ServeOptions(seconds=200.0, mode=ServingMode.ON_DEMAND),
}
"""By scenario: how a finished run's model is served; what is disturbed is the run that serves it."""
SCENARIOS = tuple(OUTCOMES)
TRAINING_ROLE = "arn:aws:iam::123456789012:role/bedrock-sft"
SWITCH_ROLE = "arn:aws:iam::123456789012:role/switch"
CATALOGUE = load_catalogue()
LARGEST = 200_000
"""Bytes of a checkpoint of these runs, which have eight rows, whatever was put into their events."""
MUTATING = frozenset(
    {
        "concatenate", "create_endpoint", "create_job", "delete", "delete_endpoint", "ensure_bucket", "put",
        "put_if", "put_once", "request_cancel", "stop_job", "tag", "write",
    }
)  # fmt: skip


def world_of(scenario: str, store: str) -> World:
    bedrock = FakeBedrock()
    sections: dict[str, object] = {"test": {"rows": 2, "compare_base": True}}
    match scenario:
        case "job failed":
            bedrock.job_ends = "Failed"
        case "throughput failed":
            bedrock.endpoint_ends = "Failed"
        case "not seen at once":
            bedrock.visible_after = 30.0
        case "job hangs":
            bedrock.training_takes = 1e6
            sections["training"] = {"role_arn": TRAINING_ROLE, "stalled_after": "1m", "deadline": "3m"}
        case "job erred":
            bedrock.internal_errors = 1
        case "kept":
            sections["serving"] = {"keep": "2h"}
        case "on demand":
            sections["serving"] = {"mode": "on-demand"}
        case "dead man's switch":
            sections["serving"] = {"dead_man_switch": {"after": "6h", "role_arn": SWITCH_ROLE}}
        case _:
            pass
    where = store
    if store == "local":
        shared = Path("/dev/shm")
        folder = tempfile.mkdtemp(prefix="vlm-runner-crash-", dir=shared if shared.is_dir() else None)
        world = World(bedrock=bedrock, store=LocalStore(Path(folder)), **sections)
        world.aws.s3.owners[folder] = "a folder to be removed"
        return world
    return World(bedrock=bedrock, store=where, **sections)


async def disturbed(
    world: World,
    scenario: str,
    plans: Points,
    *,
    cancel_at: int | None = None,
    incident: Incident | None = None,
    at: int = 0,
    made: Callable[[Plan], Process] = Process,
) -> str:
    """
    One process after another, each with its faults, and a last one with none; `incident` befalls the first
    of them at its call `at`. `made` makes them.

    Returns what is wrong with what they leave, or "".
    """
    if scenario in SERVED_AGAIN:
        await world.serve_again(SERVED_AGAIN[scenario])
    before = len(world.bedrock.ledger)
    cancelling = (
        asyncio.get_running_loop().create_task(_cancel_in_time(world)) if scenario == "cancelled" else None
    )
    found: list[str] = []
    for number, plan in enumerate(plans):
        process, repairs = made(Plan(plan)), list[Any]()
        if cancel_at is not None:
            process.plan.choose = _at(cancel_at, lambda: _soon(world.cancel()))
        if incident is not None and number == 0:
            process.plan.choose = _at(at, functools.partial(_strike, incident, world, process, repairs))
        if any(fault in FREEZES for fault in plan.values()):
            await outlive(world, process)
            continue
        found += await _lived(world, process)
        for repair in repairs:
            repair()
    last = await world.live()
    await asyncio.sleep(LATE_ARRIVALS)
    if cancelling is not None:
        cancelling.cancel()
    found += await world.violations()
    expected = OUTCOMES[scenario] | ({"cancelled"} if cancel_at is not None else set())
    if incident is not None and incident.may_fail:
        expected |= {"failed"}
    if last.outcome not in expected:
        found.append(f"outcome {last.outcome}: {last.reason}")
    # One whose run cannot be saved releases it; repaired, the run goes on from before that, and rents again.
    again = int(incident is not None)
    faults = [fault for plan in plans for fault in plan.values()]
    found += await _grown(world)
    return "; ".join(found + _left(world, before, faults, again))


async def _grown(world: World) -> list[str]:
    stored = await world.store.read(world.run_id)
    return ["the checkpoint has grown beyond measure"] if stored and len(stored.body) > LARGEST else []


def _left(world: World, before: int, faults: Sequence[Fault], again: int) -> list[str]:
    """What is too many, in an account that had paid for `before` things."""
    found = []
    # One that sleeps through its run's end may wake up and make the schedule again: it deletes itself.
    schedules = [name for name in world.aws.scheduler.schedules if not _told_to_stay(world, name)]
    if schedules and not FREEZES.intersection(faults):
        found.append("a schedule was left behind")
    # A create that arrives after all was deleted makes one more, which the sweep then deletes.
    late = sum(fault in {Fault.LATE, Fault.DELAYED} for fault in faults)
    rented = [paid for paid in world.bedrock.ledger[before:] if paid.kind != "job"]
    if len(rented) > 1 + late + again or _at_once(world):
        found.append(f"endpoints: {[(paid.created, paid.ended) for paid in world.bedrock.ledger]}")
    return found


def _told_to_stay(world: World, schedule: str) -> bool:
    """Its deletion was refused as often as it is tried: it deletes itself, in the end."""
    doing = f"deleting the schedule {schedule}"
    return sum(isinstance(one, Trouble) and one.doing == doing for one in world.signals) >= DISARM.attempts


def _at_once(world: World) -> bool:
    """Two endpoints lived at the same time."""
    rented = [paid for paid in world.bedrock.ledger if paid.kind != "job"]
    return any(one.ended is None or one.ended > other.created for one, other in itertools.pairwise(rented))


async def _cancel_in_time(world: World) -> None:
    await asyncio.sleep(CANCEL_AT)
    await world.cancel()


def _at(call: int, do: Callable[[], None]) -> Callable[[str], Fault | None]:
    """What a plan asks about each call: at this one something else happens."""
    count = itertools.count()

    def choose(_: str) -> Fault | None:
        if next(count) == call:
            do()
        return None

    return choose


def _soon(doing: Coroutine[Any, Any, None]) -> None:
    asyncio.get_running_loop().create_task(doing)


def _strike(incident: Incident, world: World, process: Process, repairs: list[Repair]) -> None:
    repair = incident.strike(world, process)
    repairs += [] if repair is None else [repair]


async def _lived(world: World, process: Process) -> list[str]:
    """Let it live, and return what its exit code, or `reap` after it, conceals of what bills then."""
    error: VlmRunnerError | None = None
    try:
        last: Run | None = await world.live(process)
    except Crash:
        return await _not_reaped(world)
    except VlmRunnerError as caught:
        # One that slept may be the last to tell of an entry, and not of the last one.
        last, error = world.latest, caught
    found = await _not_reaped(world)
    kept = last.handed_over.arn if last is not None and last.handed_over is not None else None
    billing = [*world.bedrock.training(), *(arn for arn in world.bedrock.alive if arn != kept)]
    if billing and last is not None:
        code = run_exit_code(RunView.of(last)) if error is None else halted_exit_code(error, last)
        if code not in {STOPPED, STILL_BILLING}:
            found.append(f"exit code {code} ({error}), and billing: {billing}")
    return found


async def _not_reaped(world: World) -> list[str]:
    """What is there, and `reap` does not list; or lists, and exits with 0 though no run explains it."""
    world.aws.scheduler.settle()
    if not world.bedrock.alive:
        return []
    listed = await find_rented(world.aws, world.store, FakeClock(), CATALOGUE)
    shown = {one.rented.arn for one in listed} | world.bedrock.invisible
    untagged = {arn for arn in world.bedrock.alive if TAG_UID not in world.bedrock.tags_of(arn)}
    left = {one.rented.arn for one in may_still_bill(listed)}
    explained = await _explained(world)
    unexplained = [arn for arn in shown.difference(left, world.bedrock.invisible) if arn not in explained]
    unsaid = [arn for arn in world.bedrock.alive if arn not in shown | untagged]
    return [f"reap says nothing of {arn}" for arn in unsaid] + [
        f"reap exits with 0, and no run explains {arn}" for arn in unexplained
    ]


async def _explained(world: World) -> set[str]:
    """Endpoints that say until when they are kept, and those that the stored run needs, if it can be read."""
    tags = {arn: world.bedrock.tags_of(arn) for arn in world.bedrock.alive}
    kept = {arn for arn, of_it in tags.items() if TAG_EXPIRES in of_it}
    stored = await world.store.read(world.run_id)
    try:
        run = from_bytes(stored.body, where="a test").run if stored is not None else None
    except CheckpointError:
        return kept
    if run is None:
        return kept
    if run.done:
        return kept | ({run.handed_over.arn} if run.handed_over is not None else set())
    return kept | {arn for arn, of_it in tags.items() if of_it.get(TAG_UID) == run.uid}


def run_disturbed(
    scenario: str,
    store: str,
    plans: Points,
    *,
    cancel_at: int | None = None,
    incident: Incident | None = None,
    at: int = 0,
    made: Callable[[Plan], Process] = Process,
) -> str:
    """`disturbed` on a loop of its own; what went wrong, with the way to repeat it."""
    world = world_of(scenario, store)
    with capture_logs() as logs:
        try:
            wrong = run_virtual(
                lambda: disturbed(
                    world, scenario, plans, cancel_at=cancel_at, incident=incident, at=at, made=made
                )
            )
        except Exception as error:  # noqa: BLE001 - told with the points that led to it
            wrong = f"{type(error).__name__}: {error}"
        finally:
            _remove(world)
    # An error that nobody foresaw: it has a traceback, and no sentence that says what to do.
    crashes = {
        f"{log['event']}: {log.get('error') or log.get('exc_info')!r}"
        for log in logs
        if log["log_level"] == "error"
    }
    wrong = "; ".join([*([wrong] if wrong else []), *sorted(crashes)])
    befell = "" if incident is None else f", {incident} at {at}"
    return f"{scenario}, {store}, {plans}, cancel at {cancel_at}{befell}: {wrong}" if wrong else ""


def _remove(world: World) -> None:
    import shutil

    for folder, note in world.aws.s3.owners.items():
        if note == "a folder to be removed":
            shutil.rmtree(folder, ignore_errors=True)


def trace_of(
    scenario: str,
    store: str,
    process: Process | None = None,
    at_each: Callable[[World, int], None] | None = None,
) -> list[str]:
    """The calls of an undisturbed run, by `process`, in order: its points; `at_each` may look around."""
    living = process
    world = world_of(scenario, store)

    async def main() -> list[str]:
        cancelling = asyncio.get_running_loop().create_task(_cancel_in_time(world))
        if scenario != "cancelled":
            cancelling.cancel()
        if scenario in SERVED_AGAIN:
            await world.serve_again(SERVED_AGAIN[scenario])
        process = living or world.process()
        if at_each is not None:
            count = itertools.count()
            process.plan.choose = lambda _: at_each(world, next(count))
        await world.live(process)
        return process.trace

    try:
        return run_virtual(main)
    finally:
        _remove(world)


def drawn(batch: int) -> tuple[random.Random, str, str, list[str]]:
    """For a batch of random faults: its chance, the scenario and store whose turn it is, and their trace."""
    scenario, store = SCENARIOS[batch % len(SCENARIOS)], STORES[batch % len(STORES)]
    return random.Random(batch), scenario, store, trace_of(scenario, store)


def points(trace: Iterable[str], faults: Iterable[Fault]) -> Iterator[tuple[int, Fault]]:
    """Every point with every fault that makes a difference there."""
    faults = tuple(faults)
    for number, call in enumerate(trace):
        operation = call.rpartition(".")[2]
        for fault in faults:
            if fault in ONLY_CREATES and operation not in CREATES:
                continue
            if fault in ONLY_READS and operation not in READS:
                continue
            if fault in {Fault.CRASH_BEFORE, Fault.FREEZE_BEFORE} and operation not in MUTATING:
                continue
            yield number, fault
