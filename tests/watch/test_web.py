"""The live page: it follows, reads only, and answers nobody but this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from vlm_runner.core.run import Phase
from vlm_runner.models import find
from vlm_runner.report.assemble import RunReport, assemble
from vlm_runner.testing import FakeClock, World
from vlm_runner.watch.web import Live, application

if TYPE_CHECKING:
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.report.collect import ReportInputs


def assembled(checkpoint: Checkpoint, material: ReportInputs) -> RunReport:
    profile = find("amazon.nova-lite-v1:0:300k")
    return assemble(checkpoint.run, checkpoint.history, material, profile, datetime.now(UTC))


def live_of(world: World) -> Live:
    aws: Any = world.aws
    return Live(world.store, "cats", FakeClock(), assembled, aws)


def client(live: Live, base_url: str = "http://127.0.0.1:8000") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application(live)), base_url=base_url)


async def test_tells_of_every_phase_until_the_run_is_over() -> None:
    world = World()
    await world.live(until=Phase.STAGING)
    live, told = live_of(world), []

    async def listen() -> None:
        async for message in live.changes():
            told.append(message)  # noqa: PERF401 - what was told before a failure is wanted

    async with anyio.create_task_group() as group:
        group.start_soon(live.follow)
        group.start_soon(listen)
        await world.live()

    assert "In phase training" in "".join(told)
    assert told[-2].startswith("id: 13\nevent: changed\ndata: In phase done")
    assert told[-1] == "event: over\ndata: \n\n"


async def test_shows_the_report_as_it_is_now() -> None:
    world = World()
    await world.live(until=Phase.TRAINING)
    live = live_of(world)

    async with anyio.create_task_group() as group:
        group.start_soon(live.follow)
        async with client(live) as browser:
            before = await browser.get("/")
            run = await world.live()
            async for _ in live.changes():
                pass
            after = await browser.get("/main")
        group.cancel_scope.cancel()

    assert run.done
    assert "In phase requesting" in before.text
    assert 'src="live.js"' in before.text
    assert "✓ Succeeded" in after.text
    assert "An answer." in after.text


@pytest.mark.parametrize("path", ["/", "/main", "/live.js", "/events"])
async def test_a_page_of_elsewhere_does_not_reach_it_by_another_name(path: str) -> None:
    async with client(live_of(World()), "http://rebound.example") as browser:
        answer = await browser.get(path)

    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_written(method: str) -> None:
    async with client(live_of(World())) as browser:
        answer = await browser.request(method, "/")

    assert answer.status_code == 405


async def test_its_script_is_its_own_and_all_else_is_forbidden() -> None:
    async with client(live_of(World())) as browser:
        answer = await browser.get("/live.js")

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
