"""
Twenty processes fight for one run after the other, through a bad network, killed and frozen at random.

    python -m tests.chaos.fight --minutes 10

It ends by itself: after so many minutes nobody is hurt any more, and the last run has a quarter of an hour at
most to end in calm. Exit code 0: all held; 1: violations; 2: nothing proved, since the machine was too busy.

The judges know nothing of the runner: the sandbox's ledger (what was paid), and every version of every
checkpoint in a versioned bucket (an unbroken, unforked chain in which every acknowledged write is found).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from tests.e2e.laptop import NOVA, ROLE, notebook_dataset, until

REGION, BUCKET = "us-east-1", "checkpoints-of-the-fight"
LEASE = {"time_to_live": 5.0, "renew_every": 0.7, "guard": 2.0}
LATEST_ARRIVAL_MINUTES = 0.15
TICK_SECONDS = 0.15
KILL, FREEZE, AT_THE_HOLDER = 0.11, 0.03, 0.12
"""
Chances: of each tick, and that it meets the holder.

A run must live long enough to get anywhere: whoever sweeps after a doubtful create must do so for
LATEST_ARRIVAL_MINUTES without being killed, and begins anew where the one before was.
"""
FIGHTING_SECONDS = 240.0
"""Of a run. Whether it ends under fire hangs on the machine, so it is no verdict: it ends in calm then."""
CALM_CONTENDERS = 2
CALM_SECONDS, CALM_MOST = 240.0, 900.0
"""What a phase may take in calm on a machine that keeps up, and on any."""
KEEPS_UP = 0.15
"""Seconds by which half of the judge's naps are late at most, where the machine keeps up."""
TOLD_EVERY = 15.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Score:
    generations: int = 0
    processes: int = 0
    kills: int = 0
    kills_of_holders: int = 0
    freezes: int = 0
    versions: int = 0
    epochs: int = 0
    acknowledged: int = 0
    violations: list[str] = field(default_factory=list)
    inconclusive: list[str] = field(default_factory=list)
    """What would be a violation, had the machine kept the times that the runners were told."""
    ended_in_calm: int = 0
    slowest_create: float = 0.0
    """Seconds until a create was answered, of those that were to arrive within LATEST_ARRIVAL_MINUTES."""
    lag: float = 0.0
    """Seconds by which half of the judge's naps were late."""
    proxy_faults: dict[str, int] = field(default_factory=dict)
    exits: Counter[int] = field(default_factory=Counter)

    @property
    def verdict(self) -> str:
        if self.violations:
            return f"VIOLATED: {len(self.violations)} violations."
        if self.inconclusive:
            return "INCONCLUSIVE: the machine was too busy; see `inconclusive`. Run it again on an idle one."
        return f"HELD: {self.generations} runs, {self.kills} kills, no violation."

    @property
    def exit_code(self) -> int:
        return 1 if self.violations else 2 if self.inconclusive else 0


@dataclass(eq=False)
class Arena:
    home: Path
    sandbox: subprocess.Popen[bytes]
    proxy: subprocess.Popen[bytes]
    sandbox_url: str
    proxy_url: str
    pages: Path

    @classmethod
    def open(cls, home: Path, seed: int) -> Arena:
        ready, behind = home / "sandbox.url", home / "proxy.url"
        sandbox = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "vlm_runner.sandbox",
                "--port",
                "0",
                "--ready-file",
                str(ready),
                "--speed",
                "1",
            ],
            stderr=(home / "sandbox.log").open("wb"),
        )
        until(ready.exists, "the sandbox")
        url = ready.read_text().strip()
        proxy = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.proxy", url, str(behind), str(seed)],
            cwd=ROOT,
            stderr=(home / "proxy.log").open("wb"),
        )
        until(behind.exists, "the proxy")
        arena = cls(home, sandbox, proxy, url, behind.read_text(), notebook_dataset(home / "pages", rows=12))
        arena.ask("scenario", {
            "job_seconds": 4, "model_creating_seconds": 1, "throughput_seconds": 3, "stopping_seconds": 1,
            "running_jobs": 1000, "scheduled_jobs": 1000, "no_commitment_units": 1000,
        })  # fmt: skip
        s3 = arena.boto("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        return arena

    def close(self) -> None:
        for process in (self.proxy, self.sandbox):
            process.kill()
            process.wait()

    def ask(self, path: str, body: object | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.sandbox_url}/_sandbox/{path}", data), timeout=30) as answer:
            return json.load(answer)

    @cache  # noqa: B019 - there is one arena, as long as the process
    def boto(self, service: str) -> Any:
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.sandbox_url, aws_access_key_id="judge",
            aws_secret_access_key="judge", config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "checkpoint_uri": f"s3://{BUCKET}",
            "region": REGION,
            "endpoint_url": self.proxy_url,
            "quiet_minutes": LATEST_ARRIVAL_MINUTES,
            "poll": {"first": 0.2, "longest": 0.5, "cancel_every": 0.5, "gone_after": 3.0},
            "lease": LEASE,
        }

    def spec(self) -> dict[str, Any]:
        return {
            "dataset": {"source": str(self.pages), "validation_split": "validation"},
            "model": {"base": NOVA},
            "training": {"role_arn": ROLE},
            "serving": {"mode": "provisioned"},  # what bills by the hour is fought for
            "test": {"rows": 2},
            "aws": {"region": REGION},
        }


def fighter(arena: Arena, run_id: str, number: int) -> None:
    """
    One child: drives the run as any process would; writes down each save that was acknowledged to it.
    """
    import anyio
    import structlog

    from vlm_runner import Runner, RunSpec, Settings
    from vlm_runner.checkpoint import process_identity
    from vlm_runner.checkpoint.s3 import S3Store
    from vlm_runner.cli.exit_codes import exit_code, run_exit_code
    from vlm_runner.cli.run_view import RunView

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    os.environ |= {"AWS_ACCESS_KEY_ID": "fighter", "AWS_SECRET_ACCESS_KEY": "fighter"}
    if number % 2:
        # Half of them see no other machine's processes, and must wait a lease out.
        process_identity.is_dead = lambda holder: False
    acknowledged = (arena.home / f"acknowledged-{run_id}-{os.getpid()}").open("a", buffering=1)
    write = S3Store.write

    async def noted(self: S3Store, name: str, body: bytes, *, replacing: str | None) -> str:
        version = await write(self, name, body, replacing=replacing)
        acknowledged.write(f"{json.loads(body)['write_id']}\n")
        return version

    S3Store.write = noted  # type: ignore[method-assign, assignment]

    async def fight() -> int:
        async with Runner.open(Settings.model_validate(arena.settings)) as runner:
            handle = await runner.start(RunSpec.from_table(arena.spec()), run_id=run_id)
            return run_exit_code(RunView.of(await handle.result()))

    try:
        code = anyio.run(fight)
    except BaseException as error:  # noqa: BLE001 - the exit code is all that a dead process leaves
        (arena.home / f"error-{os.getpid()}").write_text(repr(error))
        code = exit_code(error)
    os._exit(code)


def fight(minutes: float, contenders: int, seed: int, *, say: bool = True) -> Score:
    chance, score = random.Random(seed), Score()
    home = Path(tempfile.mkdtemp(prefix="fight-"))
    arena = Arena.open(home, seed)
    warm()
    watch = Watch(minutes * 60, say=say)
    try:
        while not watch.over:
            one_run(arena, f"fight-{score.generations}", contenders, watch, chance=chance, score=score)
            score.generations += 1
        score.lag = watch.lag
        for name in ("faults", "slowest-create"):
            with urlopen(f"{arena.proxy_url}/_proxy/{name}", timeout=60) as answer:
                setattr(score, {"faults": "proxy_faults"}.get(name, "slowest_create"), json.load(answer))
        watch.tell("the judges read what was paid and written", score, now=True)
        judge(arena, score)
    finally:
        arena.close()
    return score


class Watch:
    """How much time is over, what is told of it, and whether the machine keeps up."""

    def __init__(self, seconds: float, *, say: bool) -> None:
        self._began, self._seconds, self._say = time.monotonic(), seconds, say
        self._told, self._late = 0.0, deque[float](maxlen=200)

    @property
    def over(self) -> bool:
        return time.monotonic() - self._began >= self._seconds

    @property
    def lag(self) -> float:
        return median(self._late) if self._late else 0.0

    def nap(self) -> None:
        before = time.monotonic()
        time.sleep(TICK_SECONDS)
        self._late.append(time.monotonic() - before - TICK_SECONDS)

    def tell(self, what: str, score: Score, *, now: bool = False) -> None:
        passed = time.monotonic() - self._began
        if not self._say or (passed - self._told < TOLD_EVERY and not now):
            return
        self._told = passed
        print(
            f"{passed / 60:.1f} of {self._seconds / 60:.0f} minutes: {what}; {score.generations} runs ended, "
            f"{score.kills} kills ({score.kills_of_holders} of the holder), {score.freezes} freezes, "
            f"{len(score.violations)} violations; naps {self.lag * 1000:.0f} ms late",
            flush=True,
        )


def warm() -> None:
    """Import once what each child needs, so that twenty of them start at once on two cores."""
    import aioboto3
    import datasets

    import vlm_runner.aws.session
    import vlm_runner.dataset.source
    import vlm_runner.runner

    assert all((aioboto3, datasets, vlm_runner.runner))


def one_run(
    arena: Arena, run_id: str, contenders: int, watch: Watch, *, chance: random.Random, score: Score
) -> None:
    """Until the run is done, contenders are started, killed and frozen; in calm only started."""
    alive: dict[int, float] = {}
    frozen: dict[int, float] = {}
    born, began, calm_since = 0, time.monotonic(), None
    before, moved = None, began
    while (phase := phase_of(arena, run_id)) != "done":
        now = time.monotonic()
        if phase != before:
            before, moved = phase, now
        if calm_since is None and (watch.over or now - began > FIGHTING_SECONDS):
            calm_since, contenders = now, CALM_CONTENDERS
            score.ended_in_calm += 1
            calm(holder_of(arena, run_id), alive, frozen)
        if calm_since is not None and too_long(run_id, phase, now - max(calm_since, moved), watch, score):
            break
        while len(alive) < contenders:
            pid = os.fork()
            if pid == 0:
                fighter(arena, run_id, born)
            born += 1
            alive[pid] = time.monotonic()
        watch.nap()
        reap(alive, frozen, score)
        if calm_since is None:
            thaw(frozen)
            hurt(arena, run_id, alive, frozen, chance=chance, score=score)
        watch.tell(f"{run_id} is {phase}{' in calm' if calm_since is not None else ''}", score)
    score.processes += born
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    for pid in list(alive):
        os.waitpid(pid, 0)


def calm(holder: int | None, alive: dict[int, float], frozen: dict[int, float]) -> None:
    """All go on again, and all but a few end: the fewer there are, the sooner the run does."""
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    frozen.clear()
    staying = sorted(alive, key=lambda pid: pid != holder)[:CALM_CONTENDERS]
    for pid in alive.keys() - set(staying):
        os.kill(pid, signal.SIGKILL)


def too_long(run_id: str, phase: str | None, seconds: float, watch: Watch, score: Score) -> bool:
    """Whether a phase in which nobody is hurt should have ended, by what the machine is capable of."""
    if seconds > CALM_SECONDS and watch.lag <= KEEPS_UP:
        score.violations.append(f"{run_id}: still {phase} after {seconds:.0f} s of calm")
        return True
    if seconds > CALM_MOST:
        score.inconclusive.append(f"{run_id}: still {phase} after {seconds:.0f} s of calm")
        return True
    return False


def reap(alive: dict[int, float], frozen: dict[int, float], score: Score) -> None:
    for pid in list(alive):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            score.exits[os.waitstatus_to_exitcode(status)] += 1
            alive.pop(pid)
            frozen.pop(pid, None)


def thaw(frozen: dict[int, float]) -> None:
    for pid, until_when in list(frozen.items()):
        if time.monotonic() >= until_when:
            os.kill(pid, signal.SIGCONT)
            frozen.pop(pid)


def hurt(
    arena: Arena,
    run_id: str,
    alive: dict[int, float],
    frozen: dict[int, float],
    *,
    chance: random.Random,
    score: Score,
) -> None:
    draw = chance.random()
    if not alive or draw > KILL + FREEZE:
        return
    holding = holder_of(arena, run_id)
    victim = holding if holding in alive and chance.random() < AT_THE_HOLDER else chance.choice(list(alive))
    if draw < KILL:
        os.kill(victim, signal.SIGKILL)
        score.kills += 1
        score.kills_of_holders += victim == holding
    elif victim not in frozen:
        os.kill(victim, signal.SIGSTOP)
        frozen[victim] = time.monotonic() + chance.uniform(0.5, 3) * LEASE["time_to_live"]
        score.freezes += 1


def state(arena: Arena, run_id: str) -> dict[str, Any] | None:
    s3 = arena.boto("s3")
    try:
        body = s3.get_object(Bucket=BUCKET, Key=f"runs/{run_id}/state.json")["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    document: dict[str, Any] = json.loads(body)
    return document


def phase_of(arena: Arena, run_id: str) -> str | None:
    found = state(arena, run_id)
    return None if found is None else str(found["run"]["phase"])


def holder_of(arena: Arena, run_id: str) -> int | None:
    found = state(arena, run_id)
    return found["holder"]["pid"] if found is not None and found["holder"] else None


def judge(arena: Arena, score: Score) -> None:
    """What was paid, and what was written; from outside."""
    # A create that was on its way when its run ended must be swept by then, not by us.
    time.sleep(LATEST_ARRIVAL_MINUTES * 60)
    entries = arena.ask("ledger")["entries"]
    for generation in range(score.generations):
        run_id = f"fight-{generation}"
        final = state(arena, run_id)
        # One that is not done is told already, and may have bought nothing yet.
        done = final is not None and final["run"]["phase"] == "done"
        if final is not None and done and final["run"].get("failure"):
            score.violations.append(f"{run_id} failed: {final['run']['failure']['reason']}")
        jobs = [e for e in entries if e["kind"] == "customization_job" and f"vr-{run_id}-" in e["name"]]
        rented = [
            e for e in entries if e["kind"] == "provisioned_throughput" and f"vr-{run_id}-" in e["name"]
        ]
        paid = [
            f"{run_id}: {what}"
            for what, wrong in (
                (f"{len(jobs)} jobs", len(jobs) > 1 or (done and not jobs)),
                (f"{len(rented)} throughputs", len(rented) > 1 or (done and not rented)),
                ("a throughput still bills", done and any(entry["still_billing"] for entry in rented)),
            )
            if wrong
        ]
        # Whoever swept after a doubtful create did so for LATEST_ARRIVAL_MINUTES, and no longer.
        in_time = score.slowest_create <= LATEST_ARRIVAL_MINUTES * 60
        (score.violations if in_time else score.inconclusive).extend(paid)
        judge_history(arena, run_id, score)


def judge_history(arena: Arena, run_id: str, score: Score) -> None:
    """One unbroken chain of versions, one holder an epoch, every acknowledged write in it."""
    s3 = arena.boto("s3")
    key = f"runs/{run_id}/state.json"
    documents = {}
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=key):
        for version in page.get("Versions", ()):
            body = s3.get_object(Bucket=BUCKET, Key=key, VersionId=version["VersionId"])["Body"].read()
            document = json.loads(body)
            documents[document["write_id"]] = document
    score.versions += len(documents)
    followers = Counter(document["previous_write_id"] for document in documents.values())
    forks = [write for write, count in followers.items() if count > 1]
    missing = [write for write in followers if write is not None and write not in documents]
    if forks or missing:
        score.violations.append(f"{run_id}: {len(forks)} forks, {len(missing)} gaps")
    holders: dict[int, set[str]] = {}
    for document in documents.values():
        if document["holder"]:
            holders.setdefault(document["epoch"], set()).add(document["holder"]["id"])
    score.epochs += len(holders)
    if any(len(ids) > 1 for ids in holders.values()):
        score.violations.append(f"{run_id}: an epoch with two holders")
    for path in arena.home.glob(f"acknowledged-{run_id}-*"):
        for write in path.read_text().split():
            score.acknowledged += 1
            if write not in documents:
                score.violations.append(f"{run_id}: acknowledged write {write} is lost")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--contenders", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    score = fight(given.minutes, given.contenders, given.seed)
    print(json.dumps(score.__dict__, indent=2, default=str))
    print(score.verdict)
    sys.exit(score.exit_code)


if __name__ == "__main__":
    main()
