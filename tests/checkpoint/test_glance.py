"""`status` reads a local checkpoint as plain JSON, and says what the whole models would say."""

import hashlib
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from vlm_runner.checkpoint.document import from_bytes, to_bytes
from vlm_runner.checkpoint.integrity import canonical
from vlm_runner.checkpoint.process_identity import this_process
from vlm_runner.cli import cli, console, glance
from vlm_runner.cli.exit_codes import run_exit_code
from vlm_runner.errors import CheckpointError, RunNotFound, UsageError
from vlm_runner.report.summary import may_bill

GOLDEN = sorted(Path(__file__).parent.glob("*.json"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run named cats in a store at `tmp_path`, in each phase."""
    path = tmp_path / "runs" / "cats" / "state.json"
    path.parent.mkdir(parents=True)
    shutil.copy(request.param, path)
    return path


def test_shows_what_the_models_show(saved: Path, tmp_path: Path) -> None:
    whole = from_bytes(saved.read_bytes(), where="here")
    seen, where = glance.read(tmp_path, "cats")

    assert where == str(saved)
    assert console.outcome_text(seen.run, where) == console.outcome_text(whole.run, where)
    assert may_bill(seen.run) == may_bill(whole.run)
    assert run_exit_code(seen.run) == run_exit_code(whole.run)
    assert glance.state_of(seen, lambda: 104.0) == glance.state_of(whole, lambda: 104.0)


def test_refuses_what_is_damaged(saved: Path, tmp_path: Path) -> None:
    body = saved.read_bytes()
    saved.write_bytes(body.replace(b'"phase":"', b'"phase":"x', 1))
    with pytest.raises(CheckpointError, match="is damaged"):
        glance.read(tmp_path, "cats")
    saved.write_bytes(body[:-20])
    with pytest.raises(CheckpointError, match="not valid JSON"):
        glance.read(tmp_path, "cats")
    strange: dict[str, object] = {"schema": 1, "min_reader": 1, "run": {"phase": "dancing"}}
    saved.write_text(
        json.dumps(strange | {"sha256": hashlib.sha256(canonical(strange).encode()).hexdigest()})
    )
    with pytest.raises(CheckpointError, match="does not fit"):
        glance.read(tmp_path, "cats")


def test_tells_of_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match=f"No run 'dogs' in {tmp_path}"):
        glance.read(tmp_path, "dogs")
    with pytest.raises(UsageError):
        glance.read(tmp_path, "../dogs")


def test_needs_no_models_for_it() -> None:
    """
    Importing pydantic and building the models takes longer than all else of `status`.
    """
    code = (
        "import sys; from vlm_runner.cli import glance, show, console; import vlm_runner.report.summary; "
        "print(*sys.modules.keys() & {'pydantic', 'anyio', 'asyncio', 'aioboto3', 'datasets'})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded.split() == []


@pytest.mark.parametrize(("time_to_live", "state"), [(None, "STALE"), ("600", "RUNNING")])
def test_a_run_is_stale_by_the_lease_times_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time_to_live: str | None, state: str
) -> None:
    """A process that lives, and has given no sign of life for 150 s: how long a successor waits decides."""
    body = (Path(__file__).parent / "schema-1-training.json").read_bytes()
    checkpoint = from_bytes(body, where="here").model_copy(
        update={"holder": this_process("test"), "saved_at": datetime.now(UTC) - timedelta(seconds=150)}
    )
    path = tmp_path / "runs" / "cats" / "state.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(to_bytes(checkpoint))
    if time_to_live is not None:
        monkeypatch.setenv("VLM_RUNNER_LEASE__TIME_TO_LIVE", time_to_live)

    shown = CliRunner().invoke(cli, ["status", "cats", "--store", str(tmp_path)])

    assert f"state           {state}" in shown.output
