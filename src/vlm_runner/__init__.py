"""
Fine-tune vision-language models on Amazon Bedrock, end to end, once, at a known cost.

The library's whole public surface. Importing it configures nothing and imports nothing heavy: each name
is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm_runner.core.events import Entry, Event
    from vlm_runner.core.run import Outcome, Phase, Run
    from vlm_runner.core.signals import Signal
    from vlm_runner.errors import VlmRunnerError
    from vlm_runner.runner import RunHandle, Runner
    from vlm_runner.settings import Settings
    from vlm_runner.spec import RunSpec

_HOMES = {
    "Entry": "core.events",
    "Event": "core.events",
    "Outcome": "core.run",
    "Phase": "core.run",
    "Run": "core.run",
    "RunHandle": "runner",
    "RunSpec": "spec",
    "Runner": "runner",
    "Settings": "settings",
    "Signal": "core.signals",
    "VlmRunnerError": "errors",
}

__all__ = [
    "Entry",
    "Event",
    "Outcome",
    "Phase",
    "Run",
    "RunHandle",
    "RunSpec",
    "Runner",
    "Settings",
    "Signal",
    "VlmRunnerError",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'vlm_runner' has no attribute '{name}'")
    return getattr(import_module(f"vlm_runner.{home}"), name)
