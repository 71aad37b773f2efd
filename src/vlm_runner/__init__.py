"""
Fine-tune vision-language models on Amazon Bedrock, end to end, once, at a known cost.

The public names are those here and in `vlm_runner.errors`, `vlm_runner.events`, `vlm_runner.ports`,
`vlm_runner.json_output`, `vlm_runner.notebook` and `vlm_runner.testing`; every other module is private.
Importing the package configures nothing and imports nothing heavy: each name is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Aws
    from vlm_runner.bus import Watcher
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.core.events import Entry, Event
    from vlm_runner.core.run import Outcome, Phase, Run
    from vlm_runner.core.signals import Signal
    from vlm_runner.errors import (
        AwsRefused,
        AwsUnavailable,
        CheckpointError,
        ConfigurationError,
        DataError,
        NotServed,
        RunExists,
        RunNotFound,
        RunTaken,
        Stopped,
        TrackerFailed,
        Unsaved,
        UsageError,
        VlmRunnerError,
    )
    from vlm_runner.evaluate.metrics import Metric
    from vlm_runner.runner import Answered, RunHandle, Runner
    from vlm_runner.settings import Settings
    from vlm_runner.spec import RunSpec
    from vlm_runner.steps.inquiry import Inquiry
    from vlm_runner.steps.prepare_serving import ServeOptions

_HOMES = {
    "Answered": "runner",
    "Aws": "aws.ports",
    "AwsRefused": "errors",
    "AwsUnavailable": "errors",
    "CheckpointError": "errors",
    "CheckpointStore": "checkpoint.base",
    "ConfigurationError": "errors",
    "DataError": "errors",
    "Entry": "core.events",
    "Event": "core.events",
    "Inquiry": "steps.inquiry",
    "Metric": "evaluate.metrics",
    "NotServed": "errors",
    "Outcome": "core.run",
    "Phase": "core.run",
    "Run": "core.run",
    "RunExists": "errors",
    "RunHandle": "runner",
    "RunNotFound": "errors",
    "RunSpec": "spec",
    "RunTaken": "errors",
    "Runner": "runner",
    "ServeOptions": "steps.prepare_serving",
    "Settings": "settings",
    "Signal": "core.signals",
    "Stopped": "errors",
    "TrackerFailed": "errors",
    "Unsaved": "errors",
    "UsageError": "errors",
    "VlmRunnerError": "errors",
    "Watcher": "bus",
}

__all__ = [
    "Answered",
    "Aws",
    "AwsRefused",
    "AwsUnavailable",
    "CheckpointError",
    "CheckpointStore",
    "ConfigurationError",
    "DataError",
    "Entry",
    "Event",
    "Inquiry",
    "Metric",
    "NotServed",
    "Outcome",
    "Phase",
    "Run",
    "RunExists",
    "RunHandle",
    "RunNotFound",
    "RunSpec",
    "RunTaken",
    "Runner",
    "ServeOptions",
    "Settings",
    "Signal",
    "Stopped",
    "TrackerFailed",
    "Unsaved",
    "UsageError",
    "VlmRunnerError",
    "Watcher",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'vlm_runner' has no attribute '{name}'")
    return getattr(import_module(f"vlm_runner.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
