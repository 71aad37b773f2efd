"""The library inside other async services."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from vlm_runner import Run, RunHandle, Runner, RunSpec, Settings
from vlm_runner.driver import Driver

from .laptop import NOVA, ROLE, Laptop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


@pytest.fixture
def settings(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in laptop.environment.items():
        if name.startswith(("AWS_", "VLM_")):
            monkeypatch.setenv(name, value)
    return Settings.from_environment()


def spec_for(pages: Path, **sections: Any) -> RunSpec:
    return RunSpec.from_table(
        {
            "dataset": {"source": str(pages), "validation_split": "validation"},
            "model": {"base": NOVA},
            "training": {"role_arn": ROLE},
            "serving": {"mode": "provisioned"},
            "test": {"rows": 1},
            "aws": {"region": "us-east-1"},
        }
        | sections
    )


async def test_several_runs_share_one_runner(settings: Settings, laptop: Laptop, pages: Path) -> None:
    async with Runner.open(settings) as runner:
        handles = [await runner.start(spec_for(pages), run_id=name) for name in ("cats", "dogs")]
        outcomes = [(await handle.result()).outcome for handle in handles]

    assert outcomes == ["succeeded", "succeeded"]
    assert len(laptop.paid("customization_job")) == 2
    assert not any(entry["still_billing"] for entry in laptop.paid("provisioned_throughput"))


async def test_a_run_that_is_resumed_twice_at_once_is_driven_once(settings: Settings, pages: Path) -> None:
    async with Runner.open(settings) as runner:
        created = await runner.prepare(spec_for(pages), run_id="cats")
        assert created is not None
        await runner.create(created)
        both = await asyncio.gather(runner.resume("cats"), runner.resume("cats"))
        heard = [[entry.sequence async for entry in handle.events()] for handle in both]
        run = await both[0].result()

    assert both[0] is both[1]
    assert heard == [list(range(1, run.sequence + 1))] * 2


async def test_events_come_in_order_each_once_and_are_those_of_the_checkpoint(
    settings: Settings, pages: Path
) -> None:
    async with Runner.open(settings) as runner:
        handle = await runner.start(spec_for(pages), run_id="cats")
        heard = [entry async for entry in handle.events()]
        late = [entry async for entry in handle.events(after=3)]
        run = await handle.result()

    assert [entry.sequence for entry in heard] == list(range(1, run.sequence + 1))
    assert late == heard[3:]


async def test_a_service_that_runs_for_years_keeps_nothing_of_runs_that_are_over(
    settings: Settings, pages: Path
) -> None:
    async with Runner.open(settings) as runner:
        for name in ("forgotten-1", "forgotten-2"):
            await (await runner.start(spec_for(pages), run_id=name)).result()
        await anyio.lowlevel.checkpoint()
        gc.collect()
        # By type and not with isinstance, which asks proxies for what they stand for.
        kept = [each for each in gc.get_objects() if type(each) in {Run, RunHandle, Driver}]

    assert not [each for each in kept if "forgotten" in str(vars(each).values())]


async def test_a_watcher_that_fails_harms_no_run(settings: Settings, pages: Path) -> None:
    class Failing:
        def on_entry(self, run: object, entry: object) -> None:
            raise RuntimeError("I am broken")

        def on_signal(self, run_id: str, signal: object) -> None:
            raise RuntimeError("I am broken")

    async with Runner.open(settings, watchers=[Failing()]) as runner:
        run = await (await runner.start(spec_for(pages), run_id="cats")).result()

    assert run.outcome == "succeeded"


async def test_leaving_the_runner_stops_its_runs_resumably(
    settings: Settings, laptop: Laptop, pages: Path
) -> None:
    laptop.ask("clock", {"speed": 1})
    async with Runner.open(settings) as runner:
        handle = await runner.start(spec_for(pages), run_id="cats")
        async for entry in handle.events():
            if entry.event.kind == "job_submitted":
                break
    laptop.ask("clock", {"speed": 7200})

    async with Runner.open(settings) as runner:
        run = await (await runner.resume("cats")).result()

    assert run.outcome == "succeeded"
    laptop.assert_paid_once_and_over()


async def test_cancel_of_a_handle_releases_and_tells(settings: Settings, laptop: Laptop, pages: Path) -> None:
    laptop.ask("clock", {"speed": 1})
    async with Runner.open(settings) as runner:
        handle = await runner.start(spec_for(pages), run_id="cats")
        async for entry in handle.events():
            if entry.event.kind == "job_submitted":
                laptop.ask("clock", {"speed": 7200})
                await handle.cancel("enough")
        run = await handle.result()

    assert run.outcome == "cancelled"
    assert run.cancelled is not None
    assert run.cancelled.reason == "enough"
    assert not run.may_bill


async def test_it_lives_in_a_starlette_service(settings: Settings, laptop: Laptop, pages: Path) -> None:
    """
    A service that opens a runner in its lifespan, starts runs on POST and tells of them on GET.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Runner]]:
        async with Runner.open(settings) as runner:
            yield {"runner": runner}

    async def start(request: Request) -> JSONResponse:
        handle = await request.state.runner.start(spec_for(pages), run_id=(await request.json())["run_id"])
        return JSONResponse({"run_id": handle.run_id}, status_code=202)

    async def show(request: Request) -> JSONResponse:
        handle = await request.state.runner.resume(request.path_params["run_id"])
        return JSONResponse({"phase": handle.run.phase, "outcome": handle.run.outcome})

    app = Starlette(
        routes=[Route("/runs", start, methods=["POST"]), Route("/runs/{run_id}", show)], lifespan=lifespan
    )
    async with (
        app.router.lifespan_context(app) as state,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(with_state(app, state)), base_url="http://test"
        ) as client,
    ):
        started = await client.post("/runs", json={"run_id": "cats"})
        with anyio.fail_after(60):
            while (  # noqa: ASYNC110 - a client has nothing but to ask again
                shown := (await client.get("/runs/cats")).json()
            )["outcome"] is None:
                await anyio.sleep(0.2)

    assert started.status_code == 202
    assert shown == {"phase": "done", "outcome": "succeeded"}
    laptop.assert_paid_once_and_over()


def with_state(app: Starlette, state: Any) -> Any:
    """ASGITransport runs no lifespan; what it yields goes into each request's scope, as a server does it."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return wrapped


def test_the_readme_program_runs(laptop: Laptop, pages: Path) -> None:
    """
    The example in README.md, as it stands there, in a folder that has a run.toml.
    """
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    program = readme.partition("## In your own service")[2].partition("```python\n")[2].partition("```")[0]
    laptop.spec(pages)

    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", program],
        env=laptop.environment,
        cwd=laptop.home,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "1 run_created"
    assert "trained, loss" in done.stdout
    assert done.stdout.splitlines()[-1] == "succeeded"
