"""Import directions are checked, and the check bites."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [str(tool), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("sandbox/tags.py", "from vlm_runner.core.names import slug", "sandbox"),
        ("sandbox/tags.py", "from vlm_runner.runner import Runner", "sandbox"),
        ("runner.py", "from vlm_runner.sandbox.tags import tag_resource", "sandbox"),
        ("novel/__init__.py", "", "novel"),
        ("report/money.py", "from vlm_runner.watch import log", "watch"),
    ],
    ids=[
        "core in the sandbox",
        "runner in the sandbox",
        "sandbox in the runner",
        "a package without a layer",
        "upward",
    ],
)
def test_an_import_in_the_wrong_direction_is_refused(
    tmp_path: Path, file: str, line: str, broken: str
) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    path = tmp_path / "src" / "vlm_runner" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")

    found = lint_imports(tmp_path)

    assert found.returncode == 1, found.stdout + found.stderr
    assert f"vlm_runner.{broken}" in found.stdout
