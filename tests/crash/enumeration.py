"""
Everything that the tests of this folder try samples of: every call x whatever may go wrong there x the
scenarios x the stores, as jobs of some seconds to a minute each.

    python -m tests.crash.enumeration --minutes 60     so many minutes of processor time
    python -m tests.crash.enumeration --figures        what was done so far, as a table

The order is drawn once and for all, so that what was done is at any time a fair sample of its part. The
ledger (.enumeration/ledger.json) has what came of each job, and of which commit it was; what is in it is not
done again, unless something was wrong. `--first 200` begins at that job of the order, without a ledger.
pytest does the same jobs in tests/crash/test_every.py.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.malformed import MALFORMED
from tests.shortcuts import shortcuts
from vlm_runner.testing import Fault

from .incidents import CHECKPOINTS, INCIDENTS, OBJECTS, Incident
from .points import SCENARIOS, STORES, drawn, points, run_disturbed, trace_of
from .portal import Answered, BehindAPortal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vlm_runner.testing import World

Case = dict[str, Any]
"""What `run_disturbed` is told, besides scenario and store."""

BATCHES: Final = 24
PAIRS: Final = 225
"""Of double faults in a batch: 5,400 in all."""
INCIDENT_PAIRS: Final = 150
PAGES: Final = {name: MALFORMED[name] for name in ("HTML", "empty object")}
"""What the other malformed answers become too: tests/crash/test_portal.py."""
BOTH: Final = ("local", "s3")
"""The stores that people have; the third one is the tests' own."""
LONGEST: Final = 1800
"""Seconds of processor time after which a job is said not to end."""
LEDGER: Final = Path(".enumeration/ledger.json")


@dataclass(frozen=True, slots=True)
class Job:
    proof: str
    scenario: str
    store: str
    what: str
    cases: Callable[[], list[Case]]

    def __str__(self) -> str:
        return f"{self.proof}: {self.what}, {self.scenario}, {self.store}"

    def wrong(self) -> tuple[int, list[str]]:
        """How many runs it was, and what was wrong in them."""
        cases = self.cases()
        found = [run_disturbed(self.scenario, self.store, **case) for case in cases]
        return len(cases), [text for text in found if text]


@functools.lru_cache
def _calls(scenario: str, store: str) -> list[str]:
    return trace_of(scenario, store)


@functools.lru_cache
def _matters(scenario: str, store: str) -> dict[str, list[int]]:
    """By incident, the calls at which there is something that it would change."""
    found: dict[str, list[int]] = {str(incident): [] for incident in (*INCIDENTS, *OBJECTS)}

    def look(world: World, call: int) -> None:
        for incident in (*INCIDENTS, *OBJECTS):
            if incident.matters(world):
                found[str(incident)].append(call)

    trace_of(scenario, store, at_each=look)
    return found


def _faults(scenario: str, store: str, fault: Fault) -> list[Case]:
    return [{"plans": [{point: fault}]} for point, _ in points(_calls(scenario, store), [fault])]


def _cancels(scenario: str, store: str) -> list[Case]:
    return [{"plans": [{}], "cancel_at": point} for point in range(len(_calls(scenario, store)))]


def _incidents(scenario: str, store: str, incident: Incident) -> list[Case]:
    calls = _matters(scenario, store)[str(incident)]
    return [{"plans": [{}], "incident": incident, "at": call} for call in calls]


def _killed(scenario: str, store: str, incident: Incident, calls: int) -> list[Case]:
    """So many calls later: what bills then is explained by no run that `reap` can read."""
    return [
        {**case, "plans": [{case["at"] + calls: Fault.CRASH_AFTER}]}
        for case in _incidents(scenario, store, incident)
    ]


def _portals(scenario: str, store: str, body: bytes, done: bool) -> list[Case]:
    return [
        {"plans": [{}], "made": functools.partial(BehindAPortal, answered=Answered(call, body, done))}
        for call, name in enumerate(_calls(scenario, store))
        if not name.startswith("store.")  # a folder's answers come from nowhere else
    ]


def _pairs(batch: int) -> list[Case]:
    """The second one strikes the process that goes on after the first; half of the time with a cancel."""
    chance, _, _, trace = drawn(batch)
    single = list(points(trace, Fault))
    cases: list[Case] = []
    for _ in range(PAIRS):
        first, second = chance.choice(single), chance.choice(single)
        # Whoever goes on has less to do: its points are fewer.
        plans = [{first[0]: first[1]}, {second[0] % max(8, len(trace) - first[0]): second[1]}]
        cancel_at = chance.randrange(len(trace)) if chance.random() < 0.5 else None
        cases.append({"plans": plans, "cancel_at": cancel_at})
    return cases


def _incidents_and_faults(batch: int) -> list[Case]:
    """The fault strikes the process that goes on."""
    chance, _, _, trace = drawn(batch)
    single = list(points(trace, Fault))
    cases: list[Case] = []
    for _ in range(INCIDENT_PAIRS):
        point, fault = chance.choice(single)
        incident, at = chance.choice([*INCIDENTS, *OBJECTS]), chance.randrange(len(trace))
        cases.append({"plans": [{}, {point % 60: fault}], "incident": incident, "at": at})
    return cases


def _jobs() -> list[Job]:
    jobs: list[Job] = []
    for scenario in SCENARIOS:
        for store in STORES:
            jobs += _of_any_store(scenario, store)
        for store in BOTH:
            jobs += _of_both(scenario, store)
        # Where the checkpoint lies makes no difference to them.
        for incident in OBJECTS:
            cases = functools.partial(_incidents, scenario, "memory", incident)
            jobs.append(Job("objects", scenario, "memory", str(incident), cases))
    for batch in range(BATCHES):
        where = SCENARIOS[batch % len(SCENARIOS)], STORES[batch % len(STORES)]
        jobs.append(Job("pairs", *where, f"batch {batch}", functools.partial(_pairs, batch)))
        cases = functools.partial(_incidents_and_faults, batch)
        jobs.append(Job("incident and fault", *where, f"batch {batch}", cases))
    return jobs


def _of_any_store(scenario: str, store: str) -> Iterator[Job]:
    own = "" if store in BOTH else " (memory)"
    for incident in INCIDENTS:
        cases = functools.partial(_incidents, scenario, store, incident)
        yield Job(f"incidents{own}", scenario, store, str(incident), cases)
    for fault in Fault:
        cases = functools.partial(_faults, scenario, store, fault)
        yield Job(f"faults{own}", scenario, store, fault.value, cases)
    yield Job(f"cancels{own}", scenario, store, "cancel", functools.partial(_cancels, scenario, store))


def _of_both(scenario: str, store: str) -> Iterator[Job]:
    for incident in CHECKPOINTS[:3]:
        for calls in (1, 4):
            cases = functools.partial(_killed, scenario, store, incident, calls)
            what = f"{incident}, killed {calls} calls later"
            yield Job("incident, then killed", scenario, store, what, cases)
    for name, body in PAGES.items():
        for done in (True, False):
            cases = functools.partial(_portals, scenario, store, body, done)
            yield Job(
                "malformed answers", scenario, store, f"{name}, {'done' if done else 'not done'}", cases
            )


TIERS: Final = (
    ("incidents", "objects", "malformed answers", "incident, then killed", "incident and fault"),
    ("faults", "cancels", "pairs"),
    ("incidents (memory)", "faults (memory)", "cancels (memory)"),
)
"""The first ones first."""
PROOFS: Final = tuple(itertools.chain(*TIERS))


def in_order() -> list[Job]:
    """By chance, which a further job does not change."""

    def place(job: Job) -> tuple[int, bytes]:
        tier = next(number for number, proofs in enumerate(TIERS) if job.proof in proofs)
        return tier, hashlib.sha256(str(job).encode()).digest()

    return sorted(_jobs(), key=place)


def _warm() -> None:
    """What each job would else import and compile again."""
    with shortcuts(trusting=True):
        for scenario in ("happy", "served again"):
            for store in BOTH:
                run_disturbed(scenario, store, [{}], incident=INCIDENTS[0], at=40)
        trace_of("happy", "s3", BehindAPortal(bodies=tuple(PAGES.values())))


def _done_apart(job: Job) -> dict[str, Any]:
    """Do it in a process of its own, which leaves nothing behind, and is limited."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
        with os.fdopen(writing, "w") as out, shortcuts(trusting=True):
            runs, wrong = job.wrong()
            json.dump({"runs": runs, "wrong": wrong}, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        body = told.read()
    _, status, used = os.wait4(pid, 0)
    done = json.loads(body) if status == 0 else {"runs": 0, "wrong": [f"ended with status {status}"]}
    return {**done, "cpu": round(used.ru_utime + used.ru_stime, 2)}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _figures(jobs: list[Job], ledger: dict[str, Any]) -> str:
    lines = [
        "| Proof | Jobs done | Jobs in all | Runs | CPU minutes | Violations |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    in_all: Counter[str] = Counter()
    for proof in (*PROOFS, "all"):
        of_proof = [job for job in jobs if proof in (job.proof, "all")]
        done = [ledger[str(job)] for job in of_proof if str(job) in ledger]
        runs, wrong = sum(one["runs"] for one in done), sum(len(one["wrong"]) for one in done)
        cpu = sum(one["cpu"] for one in done) / 60
        lines.append(f"| {proof} | {len(done)} | {len(of_proof)} | {runs:,} | {cpu:.1f} | {wrong} |")
        in_all.update(one["commit"] for one in done if proof == "all")
    return "\n".join([*lines, "", *(f"{number} jobs of {commit}" for commit, number in in_all.items())])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash.enumeration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60, help="of processor time")
    parser.add_argument("--first", type=int, default=0, help="job of the order")
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs with this in their names")
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    given = parser.parse_args()
    ledger: dict[str, Any] = json.loads(given.ledger.read_text()) if given.ledger.exists() else {}
    jobs = in_order()
    if given.figures:
        print(_figures(jobs, ledger))
        return 0
    left, commit = given.minutes * 60, _commit()
    _warm()
    for number, job in enumerate(jobs):
        had = ledger.get(str(job))
        skipped = number < given.first or given.only not in str(job)
        if skipped or (had is not None and not had["wrong"]):
            continue
        if left <= 0:
            break
        done = ledger[str(job)] = {**_done_apart(job), "commit": commit}
        left -= done["cpu"]
        print(
            f"{number} {job}: {done['runs']} runs in {done['cpu']:.0f} s",
            *done["wrong"],
            sep="\n  ",
            flush=True,
        )
        given.ledger.parent.mkdir(parents=True, exist_ok=True)
        given.ledger.write_text(json.dumps(ledger, indent=1) + "\n")
    print(_figures(jobs, ledger))
    return 1 if any(done["wrong"] for done in ledger.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
