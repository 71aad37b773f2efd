"""CONTRIBUTING's example of a new phase, followed to the letter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "CONTRIBUTING.md").read_text().partition("## To add a phase")[2]
EDITS = re.findall(r"^```diff\n\+\+\+ (\S+)\n(.*?)^```", EXAMPLE, re.DOTALL | re.MULTILINE)

RUN = """
from vlm_runner.core.phases import Phase
from vlm_runner.testing import World, run_virtual
from vlm_runner.describe import sentence

async def main():
    world = World()
    run = await world.live(until=Phase.RECORDING)
    print(run.phase, len(world.bedrock.ledger))
    run = await world.live()
    print(run.outcome, run.records_checked.size > 0, await world.violations())
    print(*[sentence(entry.event) for entry in world.told if entry.event.kind == "records_checked"])

run_virtual(main)
"""


def applied(text: str, edit: str) -> str:
    """`text` after an edit in the form of a diff, whose hunks are found by what they keep and remove."""
    for hunk in edit.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1 or not text, f"is not there once:\n{old}"
        text = text.replace(old, new) if text else new
    return text


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the source with the example's edits."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name, edit in EDITS:
        path = tmp_path / name
        path.write_text(applied(path.read_text() if path.exists() else "", edit))
    return tmp_path / "src"


def test_a_new_phase_takes_four_files() -> None:
    assert len({name for name, _ in EDITS}) == 4


def test_a_run_passes_through_the_new_phase(source: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", RUN],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(source)},
        check=False,
    )

    assert ran.stdout.splitlines() == [
        "checking 0",
        "succeeded True []",
        "the training records were read back from S3",
    ], ran.stderr
