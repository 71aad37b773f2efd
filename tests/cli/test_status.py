"""`status` reads a local checkpoint without its models, and shows what they would."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.terminal import at_terminal
from tests.histories import after, begun, event_of, happy_runs
from vlm_runner.checkpoint.document import Checkpoint, from_bytes, to_bytes
from vlm_runner.checkpoint.integrity import canonical
from vlm_runner.checkpoint.process_identity import this_process
from vlm_runner.cli import cli
from vlm_runner.cli.commands import COMMANDS
from vlm_runner.cli.painting import painted
from vlm_runner.cli.run_text import Reach, next_step
from vlm_runner.cli.run_view import UNFIT, CheckpointView, RunView, read_view
from vlm_runner.core.events import Facts, RunCost
from vlm_runner.core.outcome import Outcome
from vlm_runner.core.phases import TRANSITIONS
from vlm_runner.core.run import Run
from vlm_runner.errors import CheckpointError, RunNotFound, UsageError

CHECKPOINTS = Path(__file__).parents[1] / "checkpoint"
GOLDEN = sorted(CHECKPOINTS.glob("schema-*.json"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run named cats in a store at `tmp_path`, in each phase."""
    path = tmp_path / "runs" / "cats" / "state.json"
    path.parent.mkdir(parents=True)
    shutil.copy(request.param, path)
    return path


def test_the_view_of_a_file_is_the_view_of_its_models(saved: Path, tmp_path: Path) -> None:
    whole = from_bytes(saved.read_bytes(), where="here")
    seen, where = read_view(tmp_path, "cats")

    assert where == str(saved)
    assert seen == CheckpointView.of(whole)


FACTS = attrgetter(*Facts.model_fields)


@pytest.fixture(scope="module")
def every_run() -> list[tuple[Run, RunView]]:
    """One run for each phase and combination of facts that the table of transitions can lead to; its view."""
    found = {(run.phase, _facts(run)): run for run in [begun()]}
    waiting = list(found.values())
    while waiting:
        run = waiting.pop()
        for phase, kind in TRANSITIONS:
            if phase is not run.phase:
                continue
            reached = after(run, event_of(kind, run))
            if (key := (reached.phase, _facts(reached))) not in found:
                found[key] = reached
                waiting.append(reached)
    return [(run, RunView.of(run)) for run in found.values()]


def _facts(run: Run) -> tuple[bool, ...]:
    return tuple([fact is not None for fact in FACTS(run)])


def test_the_view_follows_the_rules_of_the_run(every_run: list[tuple[Run, RunView]]) -> None:
    for run, view in every_run:
        assert view.outcome is run.outcome
        assert view.reason == run.reason
        assert view.may_bill == run.may_bill
        assert view.handed_over == (run.handed_over is not None)
        assert view.error == (run.failure.error if run.failure is not None else None)
    assert {run.outcome for run, _ in every_run} == {None, *Outcome}


PLANNED = {"tokens_trained": 9, "expected": 4.2}


@pytest.mark.parametrize(
    ("planned", "come_to", "told"),
    [
        (None, None, None),
        (PLANNED, None, "expected about $4.20"),
        (PLANNED, RunCost(known=3.5, per_month=1.95), "about $3.50; what it leaves costs $1.95 a month"),
        (None, RunCost(known=3.5, about=False, per_month=0.0), "$3.50"),
        (
            None,
            RunCost(known=3.5, complete=False),
            "about $3.50 and what has no known price; what it leaves costs unknown a month",
        ),
    ],
)
def test_tells_what_the_run_cost_or_is_expected_to(
    planned: dict[str, Any] | None, come_to: RunCost | None, told: str | None
) -> None:
    run = happy_runs()[-1][0].model_dump(mode="json")
    run["created"]["planned"] = planned
    run["report"]["cost"] = None if come_to is None else come_to.model_dump(mode="json")

    seen = RunView.from_json(run)

    assert seen.cost == told
    for amount in (1e999, 1e300):
        with pytest.raises(UNFIT):
            RunView.from_json(run | {"report": {"cost": RunCost(known=amount).model_dump()}})


def test_refuses_what_is_damaged(saved: Path, tmp_path: Path) -> None:
    body = saved.read_bytes()
    saved.write_bytes(body.replace(b'"phase":"', b'"phase":"x', 1))
    with pytest.raises(CheckpointError, match="is damaged"):
        read_view(tmp_path, "cats")
    saved.write_bytes(body[:-20])
    with pytest.raises(CheckpointError, match="not valid JSON"):
        read_view(tmp_path, "cats")
    strange: dict[str, object] = {"schema": 1, "min_reader": 1, "run": {"phase": "dancing"}}
    saved.write_text(
        json.dumps(strange | {"sha256": hashlib.sha256(canonical(strange).encode()).hexdigest()})
    )
    with pytest.raises(CheckpointError, match="does not fit"):
        read_view(tmp_path, "cats")


def test_tells_of_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match=f"No run 'dogs' in {tmp_path}"):
        read_view(tmp_path, "dogs")
    with pytest.raises(UsageError):
        read_view(tmp_path, "../dogs")


def test_needs_no_models_for_it(tmp_path: Path) -> None:
    """
    Importing pydantic and building the models takes longer than all else of `status`.
    """
    code = (
        "import sys; from click.testing import CliRunner; from vlm_runner.cli import cli; "
        f"r = CliRunner().invoke(cli, ['status', 'cats', '--store', {str(tmp_path)!r}]); "
        "print(r.exit_code, *sys.modules.keys() & {'pydantic', 'anyio', 'asyncio', 'aioboto3', 'datasets'})"
    )
    path = tmp_path / "runs" / "cats" / "state.json"
    path.parent.mkdir(parents=True)
    shutil.copy(CHECKPOINTS / "schema-1-done.json", path)
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded.split() == ["0"]


@pytest.mark.parametrize(("time_to_live", "state"), [(None, "STALE"), ("600", "RUNNING")])
def test_a_run_is_stale_by_the_lease_times_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time_to_live: str | None, state: str
) -> None:
    """A process that lives, and has given no sign of life for 150 s: how long a successor waits decides."""
    body = (CHECKPOINTS / "schema-1-training.json").read_bytes()
    checkpoint = from_bytes(body, where="here").model_copy(
        update={"holder": this_process("test"), "saved_at": datetime.now(UTC) - timedelta(seconds=150)}
    )
    path = tmp_path / "runs" / "cats" / "state.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(to_bytes(checkpoint))
    if time_to_live is not None:
        monkeypatch.setenv("VLM_RUNNER_LEASE__TIME_TO_LIVE", time_to_live)

    shown = CliRunner().invoke(cli, ["status", "cats", "--store", str(tmp_path)])

    assert f"is {state}" in shown.output


def stored(tmp_path: Path, name: str, phase: str, **changes: object) -> None:
    """A run in a store, as its golden checkpoint has it but for `changes`."""
    golden = json.loads((CHECKPOINTS / f"schema-1-{phase}.json").read_bytes())
    golden["run"]["created"]["run_id"] = golden["history"][0]["event"]["run_id"] = name
    checkpoint = Checkpoint.model_validate(golden)
    path = tmp_path / "runs" / name / "state.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(to_bytes(checkpoint.model_copy(update=changes)))


def shown(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--store", str(tmp_path)])


def test_a_run_that_stopped_says_why_and_how_to_go_on(tmp_path: Path) -> None:
    stored(tmp_path, "cats", "training", holder=None, halted="The quota is used up.")

    text = shown(tmp_path, "status", "cats").stdout

    assert "Run cats is STOPPED in training" in text
    assert "Why: The quota is used up." in text
    assert "model-customization-job/" in text
    assert "arn:aws" not in text
    assert text.rstrip().endswith(f"Next: vlm-runner resume cats --store {tmp_path}")


def test_phases_are_a_list_that_fills(tmp_path: Path) -> None:
    stored(tmp_path, "cats", "training", holder=None)

    lines = [line.split() for line in shown(tmp_path, "status", "cats").stdout.splitlines()]

    marks = {words[1]: words[0] for words in lines if words and words[0] in {"✓", "▸", "·"}}
    assert marks == {
        "staging": "✓", "recording": "✓", "submitting": "✓", "training": "▸",
        "requesting": "·", "warming": "·", "testing": "·", "releasing": "·", "reporting": "·",
    }  # fmt: skip


def test_past_runs_of_the_model_say_how_long_a_phase_takes(tmp_path: Path) -> None:
    stored(tmp_path, "dogs", "done")
    stored(tmp_path, "cats", "training", holder=None)

    text = shown(tmp_path, "status", "cats").stdout

    assert re.search(r"▸ training .* usually 1 min 00 s", text)


def test_a_healthy_run_does_not_shout_about_what_it_will_delete(tmp_path: Path) -> None:
    stored(tmp_path, "cats", "warming", holder=this_process("test"), saved_at=datetime.now(UTC))

    text = shown(tmp_path, "status", "cats").output

    assert "Billing: provisioned throughput vr-cats-" in text
    assert "the run deletes it" in text
    assert "SOMETHING" not in text


def test_a_run_that_nobody_drives_shouts_about_what_bills(tmp_path: Path) -> None:
    stored(tmp_path, "cats", "warming", holder=None)

    text = shown(tmp_path, "status", "cats").output

    assert "SOMETHING MAY STILL BILL" in text
    assert "delete-provisioned-model-throughput" in text


@pytest.mark.parametrize("words", [("status",), ("status", "--last"), ("events", "--last")])
def test_the_run_that_changed_last_needs_no_name(tmp_path: Path, words: tuple[str, ...]) -> None:
    stored(tmp_path, "old", "done")
    stored(tmp_path, "new", "training", holder=None)
    os.utime(tmp_path / "runs" / "old" / "state.json", (1, 1))

    text = shown(tmp_path, *words).output

    expected = (CHECKPOINTS / "schema-1-training.json").read_bytes()
    if words[0] == "events":
        assert len(text.splitlines()) == len(from_bytes(expected, where="here").history)
    else:
        assert str(tmp_path / "runs" / "new") in text


def test_a_command_that_needs_a_run_says_how_to_name_one(tmp_path: Path) -> None:
    stored(tmp_path, "cats", "done")

    missing, both = shown(tmp_path, "resume"), shown(tmp_path, "resume", "cats", "--last")

    assert isinstance(missing.exception, UsageError)
    assert "--last" in str(missing.exception)
    assert isinstance(both.exception, UsageError)


def test_an_empty_store_has_no_last_run(tmp_path: Path) -> None:
    assert isinstance(shown(tmp_path, "status").exception, RunNotFound)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_is_for_terminals_that_want_it(
    tmp_path: Path, environment: dict[str, str], coloured: bool
) -> None:
    stored(tmp_path, "cats", "done")

    screen = at_terminal("status", "cats", "--store", str(tmp_path), environment=environment)

    assert ("\x1b[32m" in screen.text) == coloured
    assert "succeeded" in screen.text


def test_what_is_in_a_checkpoint_cannot_colour_the_screen(tmp_path: Path) -> None:
    stored(tmp_path, "cats", "training", holder=None, halted="\x1b[31mred\x1b[0m")

    screen = at_terminal("status", "cats", "--store", str(tmp_path))

    assert "\x1b[31mred" not in screen.text
    assert "red" in screen.text


def test_a_terminal_without_the_marks_gets_plain_ones() -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")

    assert painted([["✓ ", "done"], "▸ now", "é"], narrow) == "x done\n> now\né"


def test_every_next_step_is_a_command_that_exists(every_run: list[tuple[Run, RunView]]) -> None:
    """Of every run that can be, whether or not a process drives it."""
    reach = Reach(("--store", "here"))
    steps = {next_step(view, state, reach) for _, view in every_run for state in ("RUNNING", "STOPPED")}

    named = {word for step in steps for word in re.findall(r"vlm-runner (\S+)", step)}
    assert named == {"watch", "resume", "release", "report", "start"}
    assert named <= COMMANDS.keys()
    assert all("vlm-runner " in step or step.startswith("aws bedrock delete-") for step in steps)
