"""Following a run from a notebook, or from where there is none."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from vlm_runner.core.run import Phase, Run
from vlm_runner.core.signals import Trouble
from vlm_runner.data_source import open_for
from vlm_runner.doctor import Check, Status
from vlm_runner.errors import ConfigurationError, DataError, Stopped
from vlm_runner.notebook import (
    display,
    follow,
    load_ipython_extension,
    open_session,
    panel,
    sample_folder,
    session,
)
from vlm_runner.testing import Process, World
from vlm_runner.testing.faults import ProcessAws

if TYPE_CHECKING:
    from vlm_runner.notebook import Session
    from vlm_runner.runner import RunHandle


async def opened(world: World, open_dataset: Any = None) -> Session:
    process = Process()
    return await open_session(
        world.settings,
        clock=process.clock,
        store=world.store,
        connect=lambda _: ProcessAws(process, world.aws),
        open_dataset=open_dataset or world.dataset,
    )


async def test_a_session_outlives_the_task_that_opened_it(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Each cell is a task of its own; outside notebooks each event is a line.
    """
    world = World()
    held = await asyncio.create_task(opened(world))

    handle = await asyncio.create_task(held.runner.start(world.spec, run_id="cats"))
    run = await asyncio.create_task(follow(handle))
    report = await asyncio.create_task(held.report("cats"))
    await asyncio.create_task(held.close())

    assert run.outcome == "succeeded"
    assert report.facts["outcome"] == "succeeded"
    assert "customization job created" in capsys.readouterr().err


async def interrupted(handle: RunHandle, *, at: str) -> asyncio.Task[Run]:
    """A cell that follows the run, interrupted at the first event of a kind as ipykernel does on SIGINT."""
    cell = asyncio.create_task(follow(handle))
    async for entry in handle.events():
        if entry.event.kind == at:
            cell.cancel()
            break
    return cell


async def test_an_interrupt_stops_the_run_and_names_the_command_that_continues_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World()
    held = await opened(world)
    handle = await held.runner.start(world.spec, run_id="cats")

    cell = await interrupted(handle, at="serving_requested")
    with pytest.raises(asyncio.CancelledError):
        await cell
    said = capsys.readouterr().err

    assert handle.finished
    assert "Resume with: vlm-runner resume cats" in said
    assert "May still bill: provisioned throughput" in said
    assert "delete-provisioned-model-throughput" in said

    run = await held.resume("cats")
    await held.close()

    assert run.outcome == "succeeded"
    assert (world.bedrock.jobs_created, world.bedrock.endpoints_created) == (1, 1)
    assert all(paid.ended is not None for paid in world.bedrock.ledger if paid.kind != "job")


async def test_an_interrupted_cell_shows_how_to_go_on_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_in_a_kernel(monkeypatch)
    world = World()
    held = await opened(world)
    handle = await held.runner.start(world.spec, run_id="cats")

    cell = await interrupted(handle, at="job_submitted")
    with pytest.raises(Stopped, match=r"(?s)^Interrupted.*Resume with: vlm-runner resume cats") as raised:
        await cell
    await held.close()

    shown: list[str] = []
    shell = SimpleNamespace(_showtraceback=lambda *given: shown.extend(given[2]))
    display._show_error(shell, raised.type, raised.value, raised.tb)
    assert shown[0].startswith("Stopped: Interrupted.")
    assert not [line for line in shown if "Traceback" in line or ".py" in line]


def test_ipython_shows_an_error_of_ours_as_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    load_ipython_extension(shell)

    ended = shell.run_cell("from vlm_runner.errors import Stopped\nraise Stopped('It waits.', hint='Go on.')")

    assert isinstance(ended.error_in_exec, Stopped)
    assert capsys.readouterr().out.strip() == "Stopped: It waits. Go on."


@pytest.mark.parametrize(
    ("bad", "error", "said", "anyway"),
    [
        ("rows", DataError, r"Lint has .*\(T220\).*Nothing was created.*lint=False", {"lint": False}),
        ("role", ConfigurationError, r"no role \(C7\).*Fix: make one.*doctor=False", {"doctor": False}),
    ],
)
async def test_a_session_begins_no_run_that_start_would_refuse(
    monkeypatch: pytest.MonkeyPatch,
    bad: str,
    error: type[Exception],
    said: str,
    anyway: dict[str, bool],
) -> None:
    world = World(
        dataset={"source": str(sample_folder()), "split": "train", "max_rows": 8},
        prompt={"user": "Judge.", "assistant": "<image> {{ output }}" if bad == "rows" else "{{ output }}"},
    )
    checks = [Check("C7", Status.BAD, "role", "no role", "make one")] if bad == "role" else []

    async def doctor(*_: object) -> list[Check]:
        return checks

    monkeypatch.setattr(session, "run_doctor", doctor)
    held = await opened(world, lambda spec, revision: open_for(spec, world.settings, revision=revision))

    with pytest.raises(error, match=re.compile(said, re.DOTALL)):
        await held.run(world.spec, run_id="cats")
    existed = await held.runner.exists("cats")
    plan = await held.plan(world.spec, run_id="cats")
    run = await held.run(world.spec, run_id="cats", **anyway)
    await held.close()

    assert not existed
    assert plan.doctor == tuple(checks)
    assert run.done


def as_in_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (session, panel):
        monkeypatch.setattr(module, "shell_of_kernel", object)
    monkeypatch.setattr(session, "load_ipython_extension", lambda _: None)
    monkeypatch.setattr(panel, "Output", FakeOutput)


class FakeOutput:
    """What a notebook's front end would show, one after another."""

    shown: list[str]

    def __init__(self, html: str, text: str) -> None:
        FakeOutput.shown = [html]
        self.replace(html, text)

    def replace(self, html: str, text: str) -> None:
        FakeOutput.shown.append(html)


async def test_the_panel_follows_phases_and_ends_with_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    as_in_a_kernel(monkeypatch)
    world = World()
    held = await opened(world)

    run = await follow(await held.runner.start(world.spec, run_id="cats"))
    await held.close()

    assert run.outcome == "succeeded"
    assert "▸ training" in "".join(FakeOutput.shown[:-1])
    assert "✓ succeeded" in FakeOutput.shown[-1]
    assert "Nothing bills by the hour." in FakeOutput.shown[-1]


async def test_a_handle_tells_the_latest_signal_until_the_next_entry() -> None:
    world = World()
    held = await opened(world)
    handle = await held.runner.start(world.spec, run_id="cats")

    held.runner.signal_trouble("asking Bedrock", "throttled")

    assert handle.trouble == Trouble(doing="asking Bedrock", message="throttled")

    await handle.result()
    await held.close()

    assert handle.trouble is handle.progress is None


async def test_how_long_a_phase_takes_is_the_median_of_past_runs_of_the_model() -> None:
    world = World()
    await world.live()
    past = world.saved[-1]
    like: Run = past.run.model_copy(
        update={"created": past.run.created.model_copy(update={"run_id": "next"})}
    )
    other = tiny_other(like)

    usual = await panel.usual_phase_seconds(world.store, like)

    assert usual[Phase.TRAINING] > 60
    assert await panel.usual_phase_seconds(world.store, other) == {}


def tiny_other(run: Run) -> Run:
    """The same run of another model."""
    model: Any = run.spec.model.model_copy(update={"base": "amazon.nova-pro-v1:0:300k"})
    spec = run.spec.model_copy(update={"model": model})
    return run.model_copy(update={"created": run.created.model_copy(update={"spec": spec})})
