"""
A run in MLflow's own pages, as its server serves them to a browser.

It installs MLflow into an environment of its own, which takes a minute or two: VLM_RUNNER_MLFLOW names an
`mlflow` that is there already.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.report.runs import report
from tests.report.test_browser import CHROMIUM, FLAGS
from vlm_runner.settings import TrackingSettings
from vlm_runner.track import open_trackers, tracked_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

PORT = 5951
SERVER = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[None]:
    command = os.environ.get("VLM_RUNNER_MLFLOW") or _installed(tmp_path / "venv")
    store = (
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/runs.db",
        "--artifacts-destination",
        f"{tmp_path}/a",
    )
    words = [command, "server", *store, "--host", "127.0.0.1", "--port", str(PORT), "--workers", "1"]
    with subprocess.Popen(words, cwd=tmp_path, start_new_session=True) as process:
        try:
            while not _answers():
                assert process.poll() is None, "the server has ended"
            yield
        finally:
            os.killpg(process.pid, 9)


def _installed(folder: Path) -> str:
    venv.create(folder, with_pip=True)
    wanted = f"mlflow=={version('mlflow-skinny')}"
    subprocess.run([str(folder / "bin" / "pip"), "install", "-q", wanted], check=True, stdout=sys.stderr)
    return str(folder / "bin" / "mlflow")


def _answers() -> bool:
    try:
        with urlopen(f"{SERVER}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def test_mlflow_shows_losses_scores_and_the_report(server: None) -> None:
    from mlflow.tracking import MlflowClient

    playwright: Any = pytest.importorskip("playwright.sync_api")
    (tracker,) = open_trackers(TrackingSettings(mlflow=SERVER, mlflow_experiment="pages"))
    tracker.log_run(tracked_run(report(8)))
    client: Any = MlflowClient(tracking_uri=SERVER)
    experiment = client.get_experiment_by_name("pages").experiment_id
    (run,) = client.search_runs([experiment])
    assert len(client.get_metric_history(run.info.run_id, "loss/training")) == 60

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        page = f"{SERVER}/#/experiments/{experiment}/runs/{run.info.run_id}"
        tab.goto(page)
        tab.get_by_text("Better than the base model").first.wait_for(timeout=60_000)
        tab.goto(f"{page}/model-metrics")
        tab.get_by_placeholder("Search metric charts").fill("loss/")
        tab.get_by_text("training", exact=True).first.wait_for(timeout=60_000)
        tab.get_by_text("validation", exact=True).first.wait_for(timeout=60_000)
        tab.goto(f"{page}/artifacts/report.html")
        framed = tab.frame_locator("iframe").get_by_text("How good are the answers")
        framed.wait_for(timeout=60_000)
        browser.close()
