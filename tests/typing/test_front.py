"""The library's public names: there, documented, and usable as an embedding program would use them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest

import vlm_runner
from vlm_runner import Runner
from vlm_runner.core import events as core_events
from vlm_runner.errors import RunNotFound, RunTaken, VlmRunnerError
from vlm_runner.report.summary import summary
from vlm_runner.testing import Process, World
from vlm_runner.testing.faults import ProcessAws

from .embedder import bills, exit_code, fine_tune


@pytest.mark.parametrize("module", ["", ".errors", ".events", ".ports", ".json_output", ".testing"])
def test_what_a_public_module_names_is_there(module: str) -> None:
    public = import_module(f"vlm_runner{module}")

    names = getattr(public, "__all__", [name for name in vars(public) if not name.startswith("_")])

    assert [name for name in names if not hasattr(public, name)] == []
    assert set(names) <= set(dir(public))


def test_every_event_is_public() -> None:
    public = import_module("vlm_runner.events")

    kinds = {
        name
        for name, value in vars(core_events).items()
        if isinstance(value, type) and "kind" in getattr(value, "model_fields", {})
    }

    assert kinds
    assert kinds <= set(public.__all__)


def test_every_error_that_the_runner_documents_is_exported() -> None:
    docs = [member.__doc__ or "" for member in [*vars(Runner).values(), vlm_runner.RunHandle.result]]

    raised = {
        name
        for doc in docs
        for line in doc.partition("Raises:")[2].splitlines()
        for name in re.findall(r"[A-Z][A-Za-z]+", line.partition(":")[0])
        if ":" in line
    }

    assert {"RunNotFound", "RunExists", "ConfigurationError"} <= raised
    assert raised <= set(vlm_runner.__all__)


def test_every_argument_of_open_is_documented() -> None:
    named = re.findall(r"^ {12}(\w+): ", Runner.open.__doc__ or "", re.MULTILINE)

    arguments = [name for name in Runner.open.__wrapped__.__annotations__ if name != "return"]  # type: ignore[attr-defined]

    assert [name for name in named if name in arguments] == arguments


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"anyio", "pydantic", "aioboto3", "datasets"}
    code = f"import sys, vlm_runner; print(sorted({heavy} & {{*sys.modules}}))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


async def test_the_typed_program_runs() -> None:
    """
    What mypy and pyright checked is what happens: events match, metrics count, the watcher is notified.
    """
    world, process = World(), Process()

    run, told, loss = await fine_tune(
        world.spec,
        world.settings,
        store=world.store,
        clock=process.clock,
        connect=lambda _: ProcessAws(process, world.aws),
        open_dataset=world.dataset,
    )

    assert run.outcome == "succeeded"
    assert told[0] == "1 rows answered"
    assert bills(summary(run)) == []
    assert loss.value is not None
    assert loss.staged
    assert run.report is not None
    assert {"length", "two.shorter", "two.empty"} <= set(run.report.scores["tuned"])


@pytest.mark.parametrize(
    ("error", "code"), [(RunNotFound("x"), 2), (RunTaken("x"), 75), (VlmRunnerError("x"), 1)]
)
def test_errors_match_by_class(error: VlmRunnerError, code: int) -> None:
    assert exit_code(error) == code
