"""The sandbox's own endpoints, under /_sandbox/."""

from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from vlm_runner.sandbox.call_log import CallLog
from vlm_runner.sandbox.faults import Faults
from vlm_runner.sandbox.http import HttpReply, HttpRequest, json_reply
from vlm_runner.sandbox.pipelines import Pipelines
from vlm_runner.sandbox.progress import settle
from vlm_runner.sandbox.state import SandboxState

if TYPE_CHECKING:
    from collections.abc import Callable

_CHECK_PATIENCE = 60.0


class Resettable(Protocol):
    def reset(self) -> None: ...


class Admin:
    def __init__(
        self, state: SandboxState, faults: Faults, calls: CallLog, moto: Resettable, pipelines: Pipelines
    ) -> None:
        self._state, self._faults, self._calls, self._moto = state, faults, calls, moto
        self._pipelines = pipelines
        self._routes: dict[tuple[str, str], Callable[[Any], Any]] = {
            ("GET", "/_sandbox/health"): lambda _: {"status": "ok", "account": state.account},
            ("GET", "/_sandbox/clock"): lambda _: self._clock(),
            ("POST", "/_sandbox/clock"): self._move_clock,
            ("GET", "/_sandbox/faults"): lambda _: faults.listed(),
            ("POST", "/_sandbox/faults"): self._add_faults,
            ("DELETE", "/_sandbox/faults"): lambda _: faults.clear(),
            ("GET", "/_sandbox/scenario"): lambda _: state.scenario.model_dump(),
            ("POST", "/_sandbox/scenario"): lambda body: state.change_scenario(body).model_dump(),
            ("GET", "/_sandbox/ledger"): lambda _: self._ledger(),
            ("GET", "/_sandbox/calls"): lambda _: calls.as_json(),
            ("DELETE", "/_sandbox/calls"): lambda _: calls.clear(),
            ("GET", "/_sandbox/instances"): lambda _: pipelines.instances(),
            ("GET", "/_sandbox/authorizations"): lambda _: state.guard.judgements(),
            ("POST", "/_sandbox/reset"): lambda _: self._reset(),
        }

    def handle(self, request: HttpRequest) -> HttpReply:
        route = self._routes.get((request.method, request.path))
        if route is None:
            known = [f"{method} {path}" for method, path in self._routes]
            return json_reply({"error": f"No {request.method} {request.path}.", "known": known}, 404)
        try:
            return json_reply(route(request.json() if request.body else {}))
        except (ValidationError, ValueError, TypeError) as error:
            return json_reply({"error": str(error)}, 400)

    def _clock(self) -> dict[str, Any]:
        return {"now": self._state.now(), "speed": self._state.clock.speed}

    def _move_clock(self, body: dict[str, Any]) -> dict[str, Any]:
        """Returns once everything due by the new time has happened: files, events, models."""
        if unknown := body.keys() - {"advance_seconds", "speed"}:
            raise ValueError(f"unknown: {sorted(unknown)}")
        if "speed" in body:
            self._state.clock.run_at(float(body["speed"]))
        self._state.clock.advance(float(body.get("advance_seconds", 0)))
        self._state.finish_checks(_CHECK_PATIENCE)
        settle(self._state)
        return self._clock()

    def _add_faults(self, body: Any) -> list[dict[str, Any]]:
        self._faults.add(body)
        return self._faults.listed()

    def _ledger(self) -> dict[str, Any]:
        settle(self._state)
        with self._state.lock:
            return self._state.ledger.as_json(self._state.now(), self._state.scenario.rent_started)

    def _reset(self) -> dict[str, Any]:
        """Empty everything except the clock, which never goes back."""
        self._pipelines.reset()
        self._state.reset()
        self._moto.reset()
        self._faults.clear()
        self._calls.clear()
        return self._clock()
