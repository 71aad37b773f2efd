"""What a shell is told while somebody types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from vlm_runner.cli import cli
from vlm_runner.paths import STATE, runs_folder

if TYPE_CHECKING:
    from pathlib import Path


def offered(line: str) -> list[str]:
    """What TAB offers after `line`."""
    *words, incomplete = line.split(" ")
    asked = BashComplete(cli, {}, "vlm-runner", "_VLM_RUNNER_COMPLETE")
    return [item.value for item in asked.get_completions(words[1:], incomplete)]


def test_commands_models_phases_flags_and_runs_are_completed(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (runs_folder(tmp_path) / name).mkdir(parents=True)
        (runs_folder(tmp_path) / name / STATE).touch()

    assert set(offered("vlm-runner sta")) == {"status", "stage", "start"}
    assert "amazon.nova-lite-v1:0:300k" in offered("vlm-runner prices amazon.nova-l")
    assert offered("vlm-runner resume --until t") == ["training", "testing"]
    assert offered("vlm-runner status --js") == ["--json"]
    assert offered(f"vlm-runner report --store {tmp_path} ca") == ["cats"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_is_printed_is_a_script_of_that_shell(shell: str) -> None:
    script = CliRunner().invoke(cli, ["completion", shell]).output

    assert f"_VLM_RUNNER_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, capture_output=True).stderr == ""


def test_a_completion_imports_nothing_heavy() -> None:
    """All that TAB costs is the start of Python and click."""
    code = (
        "import sys; from vlm_runner.cli import cli; from click.shell_completion import BashComplete as B\n"
        "B(cli, {}, 'vlm-runner', 'X').get_completions([], 's')\n"
        "print([m for m in ('pydantic', 'anyio', 'vlm_runner.cli.start') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONWARNINGS": ""}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)

    assert out.stdout.strip() == "[]"
