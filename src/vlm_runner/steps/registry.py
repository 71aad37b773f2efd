"""Which step performs which command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vlm_runner.core.decide import Command
    from vlm_runner.core.events import Event
    from vlm_runner.steps.ports import Ports

    C = TypeVar("C", bound=Command)
    E = TypeVar("E", bound=Event)
    Step = Callable[[C, Ports], Awaitable[E]]

STEPS: dict[type[Command], Callable[[Any, Ports], Awaitable[Event]]] = {}


def performs(command: type[C]) -> Callable[[Step[C, E]], Step[C, E]]:
    """Register a step: what it returns is the event that is saved, or it raises."""

    def register(step: Step[C, E]) -> Step[C, E]:
        if command in STEPS:
            raise ValueError(f"two steps perform {command.__name__}")
        STEPS[command] = step
        return step

    return register
