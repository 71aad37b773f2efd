"""The examples of deploy/examples, run as far as they can be without an account."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from tests.e2e.laptop import NOVA, ROLE
from vlm_runner import Phase, RunSpec
from vlm_runner.testing import World

if TYPE_CHECKING:
    from tests.e2e.laptop import Laptop

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


def load(name: str) -> Any:
    found = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def table(pages: Path) -> dict[str, Any]:
    return {
        "dataset": {"source": str(pages), "validation_split": "validation"},
        "model": {"base": NOVA},
        "training": {"role_arn": ROLE},
        "serving": {"mode": "provisioned"},
        "test": {"rows": 1},
        "aws": {"region": "us-east-1"},
    }


@pytest.fixture
def environment(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in laptop.environment.items():
        if name.startswith(("AWS_", "VLM_")):
            monkeypatch.setenv(name, value)


@pytest.mark.long
async def test_the_service_starts_shows_and_survives_a_restart(
    environment: None, laptop: Laptop, pages: Path
) -> None:
    app = load("service").app
    laptop.ask("clock", {"speed": 1})

    async with app.router.lifespan_context(app) as state, client_of(app, state) as client:
        refused = await client.post("/runs", json={"model": {}})
        started = await client.post("/runs?run_id=cats", json=table(pages))
        unknown = await client.get("/runs/dogs")
        await _until_phase(client, "training")
    laptop.ask("clock", {"speed": 3600})
    async with app.router.lifespan_context(app) as state, client_of(app, state) as client:
        shown = await _until_phase(client, "done")

    assert (refused.status_code, started.status_code, unknown.status_code) == (422, 202, 404)
    assert shown == {"phase": "done", "outcome": "succeeded", "reason": None}
    laptop.assert_paid_once_and_over()


async def test_looking_at_a_stopped_run_does_not_drive_it() -> None:
    """A driver might buy something."""
    world = World()
    stopped = await world.live(until=Phase.RECORDING)
    before = await world.store.read("cats")

    async with world.runner() as runner, client_of(load("service").app, {"runner": runner}) as client:
        shown = await client.get("/runs/cats")
        await anyio.sleep(0.1)  # a driver would claim it at once
        after = await world.store.read("cats")

    assert shown.json() == {"phase": stopped.phase, "outcome": None, "reason": None}
    assert after == before


async def _until_phase(client: httpx.AsyncClient, phase: str) -> dict[str, Any]:
    with anyio.fail_after(60):
        while True:
            shown: dict[str, Any] = (await client.get("/runs/cats")).json()
            if shown["phase"] == phase:
                return shown
            await anyio.sleep(0.2)


def client_of(app: Any, state: Any) -> httpx.AsyncClient:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://test")


def test_the_airflow_task_does_a_run_and_a_retry_adopts_it(
    environment: None, laptop: Laptop, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Airflow itself is not installed: its two decorators are replaced by ones that call through.
    """
    tasks: list[Any] = []
    stub: Any = types.ModuleType("airflow.sdk")
    stub.dag = lambda **_: lambda function: function
    stub.task = lambda **_: lambda function: lambda: tasks.append(function)
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", stub)
    module = load("airflow_task")
    monkeypatch.setattr(module, "SPEC", table(pages))

    first, second = tasks[0](), tasks[0]()

    assert first == second
    assert first["model_arn"]
    laptop.assert_paid_once_and_over()


def test_the_airflow_tasks_own_spec_is_one() -> None:
    text = (EXAMPLES / "airflow_task.py").read_text()
    spec = text[text.index("SPEC = ") + len("SPEC = ") : text.index("\n}\n") + 2]

    assert RunSpec.from_table(json.loads(spec.replace(",\n}", "\n}"))).model.base == NOVA


def test_the_state_is_a_run_task_that_ecs_takes_and_step_functions_knows(laptop: Laptop) -> None:
    machine = json.loads((EXAMPLES / "state_machine.json").read_text())
    state = machine["States"]["Run"]
    iam = laptop.boto("iam")
    trust = {"Version": "2012-10-17", "Statement": []}
    role = iam.create_role(RoleName="states", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]

    laptop.boto("stepfunctions").create_state_machine(
        name="fine-tune", definition=json.dumps(machine), roleArn=role
    )

    override = state["Parameters"]["Overrides"]["ContainerOverrides"][0]
    assert override.pop("Command.$") == "States.Array('resume', $.run_id)"
    override["Command"] = ["resume", "cats"]
    shape = (
        ServiceModel(Loader().load_service_model("ecs", "service-2"), "ecs")
        .operation_model("RunTask")
        .input_shape
    )
    assert shape is not None
    request = lowered(state["Parameters"])
    assert not ParamValidator().validate(request, shape).has_errors()
    assert request.keys() <= shape.members.keys()
    assert state["Retry"][0]["ErrorEquals"] == ["States.TaskFailed"]


def lowered(value: Any) -> Any:
    """Step Functions writes in capitals what ECS's API begins with a small letter."""
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: lowered(one) for key, one in value.items()}
    return [lowered(one) for one in value] if isinstance(value, list) else value
