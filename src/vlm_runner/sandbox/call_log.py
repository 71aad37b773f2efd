"""The calls received: counts of all of them, details of the latest."""

import threading
from collections import Counter, deque
from typing import Any

_RECENT = 1000


class CallLog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._counts: Counter[str] = Counter()
            self._by_status: Counter[str] = Counter()
            self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)

    def record(self, call: dict[str, Any]) -> None:
        with self._lock:
            self._counts[call["operation"]] += 1
            self._by_status[f"{call['operation']} {call['status']}"] += 1
            self._recent.append(call)

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            return {
                "counts": dict(self._counts),
                "by_status": dict(self._by_status),
                "recent": list(self._recent),
            }
