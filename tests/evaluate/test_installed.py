"""Which code a spec can make a process run: none but what was installed or allowed for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from vlm_runner.errors import ConfigurationError
from vlm_runner.evaluate import check_metrics, load_metrics
from vlm_runner.models import find
from vlm_runner.report.assemble import assemble
from vlm_runner.report.collect import ReportInputs, collect
from vlm_runner.runner import Runner
from vlm_runner.testing.faults import Process, ProcessAws
from vlm_runner.testing.world import World

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import pathlib
pathlib.Path(__file__).with_name("was-run").touch()

def closeness(reference, answer):
    return 0.125
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `strangers_metrics` that can be imported, and leaves a trace when it is."""
    (tmp_path / "strangers_metrics.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "strangers_metrics", raising=False)
    return tmp_path


def declare(package: Path) -> None:
    """As an installed distribution would."""
    info = package / "strangers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vlm_runner.metrics]\ncloseness = strangers_metrics:closeness\n")


@pytest.mark.parametrize("path", ["timeit:timeit", "cProfile:run", "timeit.timeit", "json.decoder:timeit"])
def test_what_was_not_installed_as_a_metric_is_refused_with_a_remedy(path: str) -> None:
    with pytest.raises(ConfigurationError, match=path) as caught:
        load_metrics([path], ["timeit.timeit", "jso", ""])

    assert "VLM_RUNNER_METRIC_MODULES" in str(caught.value.hint)


@pytest.mark.parametrize("path", ["closeness", "strangers_metrics:closeness", "strangers_metrics.closeness"])
def test_an_entry_point_is_loaded_by_name_or_reference(package: Path, path: str) -> None:
    declare(package)

    found = load_metrics([path], [])

    assert found[path]("", "") == 0.125


def test_a_check_imports_nothing(package: Path) -> None:
    check_metrics(["strangers_metrics:closeness"], ["strangers_metrics"])

    assert not (package / "was-run").exists()


async def test_only_who_drives_a_run_runs_its_metrics_and_a_viewer_shows_the_stored_scores(
    package: Path,
) -> None:
    world, process = World(test={"rows": 2, "metrics": ["strangers_metrics:closeness"]}), Process()
    settings = world.settings.model_copy(update={"metric_modules": ("strangers_metrics",)})
    async with Runner.open(
        settings,
        clock=process.clock,
        store=world.store,
        connect=lambda _: ProcessAws(process, world.aws),
        open_dataset=world.dataset,
    ) as runner:
        created = await runner.prepare(world.spec, run_id=world.run_id)
        assert created is not None
        assert not (package / "was-run").exists(), "what plan does runs no code"
        run = await (await runner.start(world.spec, run_id=world.run_id)).result()
    assert run.report is not None
    (package / "was-run").unlink()
    del sys.modules["strangers_metrics"]

    material = await collect(run, ProcessAws(Process(), world.aws).objects(run.bucket, owner=run.account))
    history = (await world.outcome()).history
    shown = assemble(run, history, material, find(run.spec.model.base), process.clock.now())
    unscored = assemble(run, history, ReportInputs(rows=material.rows), None, process.clock.now())

    assert shown.evaluation.models["tuned"]["scores"]["closeness"] == 0.125
    assert shown.facts["missing"] == []
    assert unscored.evaluation.models["tuned"]["answered"] == 2
    assert unscored.facts["missing"] == [
        "Not measured yet, since a report runs no code of a spec's metrics: strangers_metrics:closeness."
    ]
    assert not (package / "was-run").exists()
