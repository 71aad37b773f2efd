"""What `Runner` promises to the program that embeds it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import vlm_runner
from tests.deploy.test_examples import load
from vlm_runner.core.run import Phase
from vlm_runner.errors import DataError, RunNotFound
from vlm_runner.runner import Runner
from vlm_runner.testing import Process, World
from vlm_runner.testing.faults import ProcessAws


async def test_metrics_given_to_the_runner_score_the_answers() -> None:
    world, process = World(), Process()

    async with Runner.open(
        world.settings,
        clock=process.clock,
        store=world.store,
        connect=lambda _: ProcessAws(process, world.aws),
        open_dataset=world.dataset,
        metrics={"constant": lambda _reference, _answer: 0.25},
    ) as runner:
        run = await (await runner.start(world.spec, run_id=world.run_id)).result()

    assert run.report is not None
    assert {scores["constant"] for scores in run.report.scores.values()} == {0.25}


async def test_a_bad_row_leaves_no_run() -> None:
    answer = "{% if page != 'page 3' %}{{ output }}{% endif %}"
    world = World(prompt={"user": "Judge {{ page }}.", "assistant": answer})

    async with world.runner() as runner:
        with pytest.raises(DataError, match=r"of train, row 3.*Nothing was created"):
            await runner.start(world.spec, run_id="cats")
        assert await world.store.run_ids() == []
        run = await (await runner.start(world.spec, run_id="cats", lint=False)).result()

    assert run.outcome == "failed"


async def test_get_reads_a_run_and_does_not_drive_it() -> None:
    """
    Looking at a stopped run must buy nothing.
    """
    world = World()
    await world.live(until=Phase.RECORDING)
    process, saves = Process(), len(world.saved)

    async with world.runner(process) as runner:
        run = await runner.get(world.run_id)

    assert run.phase is Phase.SUBMITTING
    assert len(world.saved) == saves
    assert process.trace == ["store.read"]


async def test_the_example_service_shows_a_run_without_driving_it() -> None:
    world = World()
    await world.live(until=Phase.RECORDING)
    process = Process()

    async with world.runner(process) as runner:
        request: Any = SimpleNamespace(
            path_params={"run_id": world.run_id}, state=SimpleNamespace(runner=runner)
        )
        answer = await load("service").show(request)

    assert json.loads(answer.body)["phase"] == "submitting"
    assert process.trace == ["store.read"]


async def test_get_of_an_unknown_run_says_so() -> None:
    async with World().runner() as runner:
        with pytest.raises(RunNotFound):
            await runner.get("dogs")


def test_every_attribute_that_is_set_is_read_somewhere() -> None:
    """
    An argument that is stored and never used is a promise that nobody keeps.
    """
    written: dict[str, str] = {}
    read = {"_arriving", "_table"}  # held, so that a task or a mapping is not collected
    read |= {"sock", "default_port"}  # of http.client.HTTPConnection, which reads them
    for path in Path(vlm_runner.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                    written[name] = f"{path.name}:{node.lineno}"
                case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                    read.add(name)
                case _:
                    pass

    assert {name: where for name, where in written.items() if name not in read} == {}
