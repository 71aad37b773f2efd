"""The wheel alone, without a checkout: what is in it, what it says of itself, and its first commands."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from contextlib import chdir
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner
from hatchling.build import build_wheel

from vlm_runner.cli import cli

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "vlm_runner"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    with chdir(ROOT):
        name = build_wheel(str(folder))
    with ZipFile(folder / name) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_every_file_of_the_package_is_in_it_and_nothing_else(wheel: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(wheel / "vlm_runner") == files(PACKAGE)
    assert {path.name for path in wheel.iterdir()} == {"vlm_runner", "vlm_runner-0.1.0.dist-info"}


def test_it_names_its_command_extras_and_addresses(wheel: Path) -> None:
    (info,) = wheel.glob("*.dist-info")
    said = Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))

    assert "vlm-runner = vlm_runner.cli:main" in (info / "entry_points.txt").read_text()
    assert {"heic", "otel", "sandbox", "web"} <= set(said.get_all("Provides-Extra", []))
    assert re.findall(r"\]\((?!https://|#)[^)]+\)", str(said.get_payload())) == [], "dead links on PyPI"
    assert {line.split(",")[0] for line in said.get_all("Project-URL", [])} >= {"Documentation", "Issues"}


def test_its_command_works_in_a_folder_that_has_nothing(wheel: Path, tmp_path: Path) -> None:
    """
    It reads its own sample, and finds the preset that fits it.
    """
    program = (
        "import vlm_runner, sys; from vlm_runner.cli import main; "
        f"assert vlm_runner.__file__.startswith({str(wheel)!r}), vlm_runner.__file__; "
        "sys.argv[1:] = ['init', '--sample']; main()"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert 'preset = "accessibility"' in (tmp_path / "run.toml").read_text(encoding="utf-8")


def test_without_the_extra_the_demonstration_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "moto" else find(name))

    done = CliRunner().invoke(cli, ["demo", "--folder", str(tmp_path / "demo")])

    assert "uvx --from 'vlm-runner[sandbox]' vlm-runner demo" in str(done.exception)
    assert "(moto)" in str(done.exception)
    assert not (tmp_path / "demo").exists()
