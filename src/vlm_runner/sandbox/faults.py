"""Fault injection: `POST /_sandbox/faults` takes a list of faults."""

import threading
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fault(BaseModel):
    """
    One kind of failure, the requests that it affects, and how often.

    `error` answers with an AWS error code, `status` with a bare status and HTML as a proxy would,
    `slow` waits `seconds` first, `reset_before` drops the connection before any effect,
    `reset_after` lets the effect happen and loses the reply, `late` drops the connection and lets the
    effect happen `seconds` afterwards, `replaced` lets the effect happen and answers 200 with `body`, as a
    captive portal or a broken proxy would. Matching requests are skipped `after` times, then hit `times`
    times (None: no limit) with `probability`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: str
    kind: Literal["error", "status", "slow", "reset_before", "reset_after", "late", "replaced"]
    code: str = "InternalServerException"
    message: str = "A fault injected by the sandbox."
    status: int | None = None
    times: int | None = 1
    after: int = 0
    probability: float = 1.0
    seconds: float = 0.0
    body: str = "<html><body>Sign in</body></html>"
    key_contains: str | None = None

    def fits(self, operation: str, path: str) -> bool:
        wanted = self.operation in {operation, "*"}
        return wanted and (self.key_contains is None or self.key_contains in path)


class Faults:
    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._random = Random(seed)  # noqa: S311 -- reproducible, not secret
        self._faults: list[Fault] = []

    def add(self, faults: Any) -> None:
        rows = TypeAdapter(list[Fault]).validate_python(faults if isinstance(faults, list) else [faults])
        with self._lock:
            self._faults += rows

    def listed(self) -> list[dict[str, Any]]:
        """The faults that can still occur; used-up faults are removed."""
        with self._lock:
            return [fault.model_dump() for fault in self._faults]

    def clear(self) -> None:
        with self._lock:
            self._faults = []

    def strike(self, operation: str, path: str) -> Fault | None:
        """The first fault that applies to this request; counts as one use of it."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not fault.fits(operation, path):
                    continue
                if fault.after:
                    self._replace(index, fault.model_copy(update={"after": fault.after - 1}))
                    continue
                if self._random.random() >= fault.probability:
                    continue
                self._use_up(index, fault)
                return fault
        return None

    def _use_up(self, index: int, fault: Fault) -> None:
        if fault.times is None:
            return
        left = fault.times - 1
        self._replace(index, fault.model_copy(update={"times": left}) if left > 0 else None)

    def _replace(self, index: int, fault: Fault | None) -> None:
        replacement: Sequence[Fault] = [] if fault is None else [fault]
        self._faults[index : index + 1] = replacement
