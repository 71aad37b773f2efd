"""What every command promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from vlm_runner.cli import cli
from vlm_runner.cli.commands import COMMANDS
from vlm_runner.cli.exit_codes import EXIT_CODES
from vlm_runner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .laptop import Laptop

HEAVY = (
    "aioboto3",
    "botocore",
    "datasets",
    "pyarrow",
    "numpy",
    "PIL",
    "pydantic",
    "rich",
    "structlog",
    "anyio",
)


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(("path", "command"), [pytest.param(p, c, id=" ".join(p)) for p, c in commands(cli)])
def test_every_command_has_help_with_an_example(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help is not None
    assert "Example:\n" in command.help
    assert f"vlm-runner {' '.join(path)}" in command.help


def test_help_lists_each_command_as_it_describes_itself() -> None:
    described = {
        path[0]: command.get_short_help_str(limit=200) for path, command in commands(cli) if len(path) == 1
    }

    assert {name: lazy.summary for name, lazy in COMMANDS.items()} == described


def test_help_names_every_exit_code() -> None:
    shown = " ".join(CliRunner().invoke(cli, ["--help"]).output.split())

    assert all(f"{code} {meaning}" in shown for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize(
    "words", [("status",), ("events",), ("events", "-f"), ("watch",), ("report",), ("resume",), ("cancel",)]
)
@pytest.mark.parametrize("run_id", ["", "../../etc", "two words"])
def test_what_cannot_be_a_run_id_is_said_to_be_none(
    words: tuple[str, ...], run_id: str, tmp_path: Path
) -> None:
    said = CliRunner().invoke(cli, [*words, run_id, "--store", str(tmp_path)])

    assert isinstance(said.exception, UsageError)
    assert "Invalid run id" in str(said.exception)


def test_help_loads_nothing_heavy() -> None:
    """
    So it answers at once; a command loads what it needs.
    """
    code = (
        "import sys; from click.testing import CliRunner; from vlm_runner.cli import cli;"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_importing_the_library_loads_nothing_heavy_and_configures_nothing() -> None:
    code = (
        "import sys, logging, signal; before = signal.getsignal(signal.SIGINT); import vlm_runner;"
        f"print([n for n in {HEAVY!r} if n in sys.modules], logging.root.handlers,"
        "signal.getsignal(signal.SIGINT) is before)"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[] [] True"


def test_init_writes_a_spec_that_start_understands(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from vlm_runner.spec import RunSpec

    path = tmp_path / "a folder that" / "is not there yet" / "run.toml"
    written = CliRunner().invoke(cli, ["init", str(path), "--source", 'odd "name"'])

    assert written.exit_code == 0
    spec = RunSpec.from_toml(path)
    assert spec.dataset.source == 'odd "name"'
    assert spec.model.base == "amazon.nova-lite-v1:0:300k"
    assert spec.training.hyperparameters == {"epochCount": "2", "learningRate": "0.00001"}


def test_stdout_holds_one_result_and_the_log_is_json_lines(laptop: Laptop, pages: Path) -> None:
    done = laptop.cli("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats", "--json")

    result = json.loads(done.stdout)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    transitions = [line for line in lines if line["event"] == "run.advanced"]
    assert result["outcome"] == "succeeded"
    assert [line["sequence"] for line in transitions] == list(range(1, len(transitions) + 1))
    assert transitions[-1]["phase"] == "done"
    assert {line["run_id"] for line in lines} == {"cats"}
    assert not re.search(r"\x1b", done.stdout + done.stderr)
    assert "test-secret-canary" not in done.stdout + done.stderr


def test_events_tell_the_history_once_and_go_on_from_a_number(laptop: Laptop, pages: Path) -> None:
    laptop.cli("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")

    whole = [json.loads(line) for line in laptop.cli("events", "cats").stdout.splitlines()]
    rest = [
        json.loads(line) for line in laptop.cli("events", "cats", "-f", "--after", "5").stdout.splitlines()
    ]

    assert [entry["sequence"] for entry in whole] == list(range(1, len(whole) + 1))
    assert whole[0]["event"]["kind"] == "run_created"
    assert whole[-1]["event"]["kind"] == "report_written"
    assert rest == whole[5:]


def test_status_and_list_show_what_is_there(laptop: Laptop, pages: Path) -> None:
    laptop.cli("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")

    status = laptop.cli("status", "cats")
    listed = json.loads(laptop.cli("list", "--json").stdout)
    missing = laptop.cli("status", "dogs")

    assert status.returncode == 0
    assert "Run cats succeeded in" in status.stdout
    assert [(row["run_id"], row["state"], row["may_bill"]) for row in listed] == [("cats", "SUCCEEDED", [])]
    assert missing.returncode == 102
    assert "No run 'dogs'" in missing.stderr


def test_a_detached_run_goes_on_without_its_terminal(laptop: Laptop, pages: Path) -> None:
    from .laptop import until

    started = laptop.cli("start", str(laptop.spec(pages)), "--yes", "--detach", "--run-id", "cats")

    assert started.returncode == 0, started.stderr
    assert started.stdout == "cats\n"
    until(lambda: laptop.phase("cats") == "done", "the detached run to end")
    laptop.assert_paid_once_and_over()


def test_resume_until_a_phase_stops_there(laptop: Laptop, pages: Path) -> None:
    laptop.cli("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats", "--timeout", "0s")

    halfway = laptop.cli("resume", "cats", "--until", "recording", "--json")

    assert halfway.returncode == 0, halfway.stderr
    assert json.loads(halfway.stdout)["phase"] == "submitting"
    assert laptop.paid("customization_job") == []
    assert laptop.cli("resume", "cats").returncode == 0


def test_verify_finds_that_an_image_is_gone(laptop: Laptop, pages: Path) -> None:
    """
    Another run of the same data believes the marks of the first, unless it is told to look.
    """
    spec, s3 = str(laptop.spec(pages)), laptop.boto("s3")
    laptop.here("start", spec, "--yes", "--run-id", "cats")
    (bucket,) = (found["Name"] for found in s3.list_buckets()["Buckets"])
    image = s3.list_objects_v2(Bucket=bucket, Prefix="images/train/")["Contents"][0]["Key"]
    s3.delete_object(Bucket=bucket, Key=image)
    done = laptop.here("start", spec, "--yes", "--run-id", "dogs", "--verify")

    assert done.returncode == 0
    assert s3.head_object(Bucket=bucket, Key=image)["ContentLength"] > 0
