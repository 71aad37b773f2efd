"""A recording asked again of a sandbox."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

import anyio
import pytest

from vlm_runner.errors import ConfigurationError
from vlm_runner.models import load_catalogue
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.sandbox.gateway import Gateway
from vlm_runner.sandbox.operations import operation_of
from vlm_runner.verify import replay
from vlm_runner.verify.against_sandbox import check, model_units
from vlm_runner.verify.compare import Difference, known_differences, passes_through
from vlm_runner.verify.recording import read

from .desk import SLOW, without_tls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vlm_runner.sandbox.http import HttpReply
    from vlm_runner.verify.recording import Exchange


def differences(recording: Path, only: Callable[[Exchange], bool] = lambda _: True) -> list[Difference]:
    header, exchanges = read(recording)
    begins, units = datetime.fromisoformat(header.date), model_units(exchanges)
    options = SandboxOptions(as_of=begins, speed=0, model_units=units)
    with Sandbox(options) as sandbox, without_tls():
        sandbox.state.change_scenario(SLOW)
        chosen = list(filter(only, exchanges))
        return anyio.run(check, header, chosen, sandbox.url, load_catalogue(None))


def unknown(found: list[Difference]) -> list[str]:
    excused = known_differences()
    return [str(each) for each in found if not any(known.covers(each) for known in excused)]


def _status(reply: HttpReply) -> HttpReply:
    return dataclasses.replace(reply, status=409)


def _changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[HttpReply], HttpReply]:
    def lie(reply: HttpReply) -> HttpReply:
        members = json.loads(reply.body)
        change(members)
        return dataclasses.replace(reply, body=json.dumps(members).encode())

    return lie


def _coded(reply: HttpReply) -> HttpReply:
    headers = [(k, "ValidationException" if k.lower() == "x-amzn-errortype" else v) for k, v in reply.headers]
    return dataclasses.replace(reply, headers=headers, body=b'{"__type":"ValidationException","message":"x"}')


LIES: dict[str, tuple[str, Callable[[HttpReply], HttpReply]]] = {
    "GetCustomModel": ("status", _status),
    "GetCustomModelDeployment": ("code", _coded),
    "GetProvisionedModelThroughput": ("message", _changed(lambda m: m.update(message="It is not there."))),
    "GetFoundationModel": ("members", _changed(lambda m: m["modelDetails"].pop("providerName"))),
    "GetAWSDefaultServiceQuota": ("types", _changed(lambda m: m["Quota"].update(QuotaArn=1))),
    "GetServiceQuota": ("values", _changed(lambda m: m["Quota"].update(Unit="Many"))),
    "GetModelCustomizationJob": (
        "states",
        _changed(lambda m: m.update(status="Ending") if m.get("status") == "Stopping" else None),
    ),
}
"""By the operation that lies: the kind of difference that it makes."""


def test_a_sandbox_differs_in_nothing_from_itself(recorded: Path) -> None:
    """
    What a sandbox did, another one does: status, code, message, members, types, words and states.
    """
    found = unknown(differences(recorded))

    assert found == [], found


def test_each_planted_lie_is_found(recorded: Path) -> None:
    """
    Each operation that answers in a wrong way is listed, with the kind of difference that it makes.
    """
    honest: Any = Gateway._dispatch

    async def lying(gateway: Gateway, scope: Any, request: Any) -> HttpReply:
        reply: HttpReply = await honest(gateway, scope, request)
        _, operation = operation_of(scope, request)
        return LIES[operation][1](reply) if operation in LIES else reply

    # Without what is staged, which no lie is about; and no wait for a state that never comes.
    with mock.patch.object(Gateway, "_dispatch", lying), mock.patch.object(replay, "MOST_SECONDS", 300.0):
        found = differences(recorded, lambda each: each.level < 2 or each.service == "bedrock")

    planted = {(operation, kind) for operation, (kind, _) in LIES.items()}
    assert planted - {(each.operation, each.kind) for each in found} == set()
    assert {each.operation for each in found} - {"GetRole"} <= LIES.keys()


def test_a_state_that_a_look_has_missed_is_no_difference() -> None:
    """
    But one that the sandbox does not have is, and so is another order.
    """
    assert passes_through(["Active"], ["Creating", "Active"])
    assert not passes_through(["Creating", "Active"], ["Active"])
    assert not passes_through(["Stopped", "Stopping"], ["Stopping", "Stopped"])


def test_a_known_difference_has_a_reason(tmp_path: Path) -> None:
    """
    One without is refused, and one with a reason covers just what it names.
    """
    path = tmp_path / "known.toml"
    entry = '[[known]]\noperation = "GetRole"\nkind = "members"\nat = "Role.Path"\nreason = "{}"\n'
    path.write_text(entry.format(" "))
    with pytest.raises(ConfigurationError, match="gives no reason"):
        known_differences(path)
    path.write_text(entry.format("a test"))
    (known,) = known_differences(path)

    assert known.covers(Difference("GetRole", "members", "Role.Path", "has it", "lacks it"))
    assert not known.covers(Difference("GetRole", "types", "Role.Path", "a text", "a number"))
