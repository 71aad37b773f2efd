"""What a person sees: of one run as it goes on, and of all runs of a store."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from vlm_runner.checkpoint.document import Checkpoint, Holder, to_bytes
from vlm_runner.checkpoint.process_identity import this_process
from vlm_runner.cli import cli
from vlm_runner.core.events import (
    DatasetFacts,
    EndpointReady,
    Entry,
    ImagesStaged,
    JobCompleted,
    JobSubmitted,
    RecordsWritten,
    RunCreated,
    ServingRequested,
    SubsetStaged,
)
from vlm_runner.core.intents import intend_job, intend_serving
from vlm_runner.core.phases import Phase
from vlm_runner.core.signals import TestAnswered
from vlm_runner.core.transitions import fold
from vlm_runner.models import find
from vlm_runner.report.money import money
from vlm_runner.testing.world import tiny_spec
from vlm_runner.watch.progress import ProgressWatcher

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.json_output import MoneyJson

LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"


def renting(mode: str = "provisioned") -> list[Entry]:
    """A run that has rented two hours ago."""
    spec = tiny_spec(model={"base": LLAMA}, serving={"mode": mode})
    staged = SubsetStaged(
        rows=8,
        images_uploaded=8,
        images_passed_through=8,
        images_converted=0,
        shards_skipped=0,
        bytes_uploaded=9,
    )
    created = RunCreated(
        run_id="cats",
        uid="0" * 32,
        spec=spec,
        spec_fingerprint=spec.fingerprint,
        account="123456789012",
        region="us-west-2",
        bucket="b",
        dataset=DatasetFacts(fingerprint="f", rows=8),
        version="0",
    )
    entries: list[Entry] = []

    def tell(event: Any) -> None:
        at = datetime.now(UTC) - timedelta(hours=2)
        entries.append(Entry(sequence=len(entries) + 1, at=at, event=event))

    tell(created)
    tell(ImagesStaged(train=staged))
    tell(RecordsWritten(train_uri="s3://b/data/train.jsonl", train_records=8))
    tell(intend_job(fold(entries)))
    tell(JobSubmitted(arn="arn:job"))
    tell(JobCompleted(model_arn="arn:model"))
    tell(intend_serving(fold(entries)))
    tell(ServingRequested(arn="arn:endpoint"))
    tell(EndpointReady())
    return entries


def stored(folder: Path, holder: Holder | None, mode: str = "provisioned") -> str:
    entries = renting(mode)
    path = folder / "runs" / "cats" / "state.json"
    path.parent.mkdir(parents=True)
    checkpoint = Checkpoint(write_id="w", holder=holder, run=fold(entries), history=tuple(entries))
    path.write_bytes(to_bytes(checkpoint))
    return str(folder)


def gone() -> Holder:
    """A process of this machine that is no more."""
    return this_process("0").model_copy(update={"pid": 2**22 - 1, "pid_started": "1"})


def test_the_list_says_that_a_deployment_bills_by_the_token(tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["list", "--store", stored(tmp_path, None, mode="on-demand")])

    assert re.search(r"BILLS\n.* custom model deployment vr-cats-\w+: by the token\n", shown.stdout)


@pytest.mark.parametrize(
    ("holder", "state"), [(None, "STOPPED"), (gone(), "STALE"), (this_process("0"), "RUNNING")]
)
def test_the_list_says_who_drives_and_what_bills(holder: Holder | None, state: str, tmp_path: Path) -> None:
    store = stored(tmp_path, holder)

    shown = CliRunner().invoke(cli, ["list", "--store", store])
    table = json.loads(CliRunner().invoke(cli, ["list", "--store", store, "--json"]).stdout)

    assert state in shown.stdout
    assert "about $46.00 + ?" in shown.stdout
    assert "1 run has cost about $46.00 and what has no known price." in shown.stderr
    assert "$23.00 an hour" in shown.stdout
    assert "2 h 00 min ago" in shown.stdout
    assert (table[0]["state"], table[0]["per_hour_usd"]) == (state, 23.0)
    assert (table[0]["cost_about"], table[0]["cost_complete"]) == (True, False)
    assert table[0]["cost_usd"] == pytest.approx(46.0, abs=0.1)


def test_events_go_on_from_a_number(tmp_path: Path) -> None:
    store = stored(tmp_path, None)

    lines = CliRunner().invoke(cli, ["events", "cats", "--after", "6", "--store", store]).stdout.splitlines()

    assert [json.loads(line)["sequence"] for line in lines] == [7, 8, 9]


def test_a_report_of_a_run_that_stands_still_says_how_to_go_on(tmp_path: Path, monkeypatch: Any) -> None:
    """Without AWS, too: then it says what it lacks."""
    store, page = stored(tmp_path, None), tmp_path / "page.html"
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    done = CliRunner().invoke(cli, ["report", "cats", "-o", str(page), "--store", store])

    assert done.exit_code == 0, done.output
    html = page.read_text()
    assert "vlm-runner resume cats" in html
    assert "S3 could not be re" in html


def test_progress_tells_what_is_rented_and_for_how_much() -> None:
    out = io.StringIO()
    entries = renting()
    console = Console(file=out, force_terminal=True, width=160, color_system=None)

    asked = TestAnswered(done=1, asked=5, base_input_tokens=10**6, base_output_tokens=0)

    def money_so_far(run_id: str) -> MoneyJson:
        return money(fold(entries), entries, find(LLAMA), datetime.now(UTC), asked=asked)

    with ProgressWatcher(console) as watcher:
        watcher.money_so_far = money_so_far
        for number in range(1, len(entries) + 1):
            watcher.on_entry(fold(entries[:number]), entries[number - 1])

    assert "billing starts now" in out.getvalue()
    assert "about $46.00 and what has no known price so far, and $23.00 an hour" in out.getvalue()


def test_progress_shortens_arns_and_says_how_each_kind_of_endpoint_bills() -> None:
    out, entries = io.StringIO(), renting()
    for kind in ("provisioned-model", "custom-model-deployment"):
        arn = f"arn:aws:bedrock:us-east-1:123456789012:{kind}/x"
        with ProgressWatcher(Console(file=out, width=160)) as watcher:
            event = ServingRequested(arn=arn)
            watcher.on_entry(fold(entries), entries[7].model_copy(update={"event": event}))

    assert "endpoint created, billing starts now: provisioned-model/x" in out.getvalue()
    assert "endpoint created, billed by the token: custom-model-deployment/x" in out.getvalue()


def test_the_clock_of_a_phase_goes_on_when_what_is_shown_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    out, entries = io.StringIO(), renting()
    console = Console(file=out, force_terminal=True, width=100, height=10, color_system=None)
    now = iter(range(1000, 1_000_000, 700))
    monkeypatch.setattr("vlm_runner.watch.progress.monotonic", lambda: float(next(now)))

    with ProgressWatcher(console) as watcher:
        watcher.begin(fold(entries), entries)
        for done in range(3):
            watcher.on_signal("cats", TestAnswered(done=done, asked=8))
    clocks = [int(found) for found in re.findall(r"(\d+) min", out.getvalue())]

    assert clocks == sorted(clocks)
    assert clocks[-1] > clocks[0]


@pytest.mark.parametrize(("height", "several"), [(24, False), (10, False), (24, True)])
def test_progress_shows_one_runs_phases_as_a_list_that_fills(*, height: int, several: bool) -> None:
    out = io.StringIO()
    entries = renting()
    console = Console(file=out, force_terminal=True, width=60, height=height, color_system=None)

    with ProgressWatcher(console) as watcher:
        watcher.usual_of = lambda _: {Phase.RELEASING: "3 min", Phase.TRAINING: "2 h"}
        if several:
            other = entries[0].model_copy(
                update={"event": entries[0].event.model_copy(update={"run_id": "dogs"})}
            )
            watcher.on_entry(fold([other]), other)
        watcher.begin(fold(entries[:-1]), entries[:-1])
        watcher.on_entry(fold(entries), entries[-1])
    shown = [" ".join(line.split()) for line in out.getvalue().splitlines()]

    phases = ["✓ training 0 s", "▸ testing 2 h 00 min", "· releasing usually 3 min", "· reporting"]
    if height == 24 and not several:
        assert [line for line in phases if line not in shown] == []
    else:
        assert [line for line in phases[:2] if line in shown] == []
    assert all(len(line) <= 60 for line in out.getvalue().splitlines() if "usually" in line)
