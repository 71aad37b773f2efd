"""
From a command to the step that does it.

Each step says by `@performs(SomeCommand)` what it does, in any module of this package.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from vlm_runner import steps
from vlm_runner.core.decide import Record
from vlm_runner.steps.registry import STEPS

if TYPE_CHECKING:
    from vlm_runner.core.decide import Command
    from vlm_runner.core.events import Event
    from vlm_runner.steps.ports import Ports

for _module in pkgutil.iter_modules(steps.__path__, f"{steps.__name__}."):
    if _module.name != __name__:
        importlib.import_module(_module.name)


async def perform(command: Command, ports: Ports) -> Event:
    """Do it. Doing it again after a crash comes to the same."""
    if isinstance(command, Record):
        return command.event
    step = STEPS.get(type(command))
    if step is None:
        raise TypeError(f"no step performs {type(command).__name__}")
    return await step(command, ports)
