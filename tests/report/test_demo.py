"""The demonstration ends with a page, and the page shows that the model has learned."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "vlm_runner", "demo", "-q", "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert str(folder / "report.html") in done.stderr
    return folder


def scores_of(folder: Path) -> dict[str, Any]:
    state = next(folder.glob("runs/*/state.json"))
    scores: dict[str, Any] = json.loads(state.read_text())["run"]["report"]["scores"]
    return scores


@pytest.mark.parametrize("metric", ["similarity", "sections", "findings.f1", "thought.similarity"])
def test_the_tuned_model_is_better_than_its_base_on_held_out_rows(demonstrated: Path, metric: str) -> None:
    scores = scores_of(demonstrated)

    assert scores["tuned"][metric] > scores["base"][metric] + 0.1


def test_the_page_has_pictures_curves_and_answers(demonstrated: Path) -> None:
    html = (demonstrated / "report.html").read_text()

    assert html.count("data:image/webp;base64,") == 5
    assert '<svg class="chart"' in html
    assert "✓ Succeeded" in html
    assert "What this report lacks" not in html
