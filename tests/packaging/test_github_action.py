"""action.yml: what its steps type is typed here, with a vlm-runner that only notes it."""

from __future__ import annotations

import json
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlm_runner.cli.lint import lint

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "how-to" / "github-actions.md").read_text(encoding="utf-8")
STEPS: dict[str, Any] = {step.get("name", step.get("uses")): step for step in ACTION["runs"]["steps"]}
NOTES = """#!{python} -IS
import json, sys
json.dump(sys.argv[1:], open({words!r}, "w"))
sys.exit({code})
"""


def lints(folder: Path, code: int, **inputs: str) -> tuple[int, list[str], dict[str, str]]:
    """The step's exit code, the words that it typed after `vlm-runner`, and its outputs."""
    program = folder / "vlm-runner" / "bin" / "vlm-runner"
    program.parent.mkdir(parents=True)
    words, outputs = folder / "words.json", folder / "outputs"
    program.write_text(NOTES.format(python=sys.executable, words=str(words), code=code))
    program.chmod(stat.S_IRWXU)
    outputs.touch()
    given = {name.upper(): inputs.get(name, "") for name in ("source", "model", "images")}
    environment = {
        "PATH": "/usr/bin:/bin",
        "RUNNER_TEMP": str(folder),
        "GITHUB_OUTPUT": str(outputs),
        **given,
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS["Lint"]["run"]]
    done = subprocess.run(command, env=environment, cwd=folder)
    said = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return done.returncode, json.loads(words.read_text()), said


@pytest.mark.parametrize(
    ("code", "ends", "errors"), [(0, 0, "false"), (3, 0, "true"), (4, 4, None), (1, 1, None), (75, 75, None)]
)
def test_findings_are_an_answer_and_anything_else_fails_the_step(
    tmp_path: Path, code: int, ends: int, errors: str | None
) -> None:
    ended, words, outputs = lints(tmp_path, code, source="my data/run.toml")

    assert (ended, outputs.get("errors")) == (ends, errors)
    assert words == ["lint", "my data/run.toml", "--sarif", str(tmp_path / "vlm-runner.sarif")]


def test_what_it_types_are_options_of_lint(tmp_path: Path) -> None:
    _, words, _ = lints(tmp_path, 0, source="train.jsonl", model="amazon.nova-lite-v1:0:300k", images="none")

    context = lint.make_context("lint", words[1:])

    assert (context.params["model"], context.params["images"]) == ("amazon.nova-lite-v1:0:300k", "none")


def test_no_input_is_part_of_a_script() -> None:
    """
    A pull request may name its spec as it likes: what is pasted into a script would be run.
    """
    assert [name for name, step in STEPS.items() if "${{" in step.get("run", "")] == []


def test_the_page_has_its_inputs_and_a_workflow_that_uses_them() -> None:
    (workflow,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    steps = yaml.safe_load(workflow)["jobs"]["lint"]["steps"]

    assert set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE)) == set(ACTION["inputs"])
    assert set(steps[-1]["with"]) <= set(ACTION["inputs"])
    assert shlex.split(steps[-1]["uses"])[0].startswith("vlm-runner/vlm-runner@")
