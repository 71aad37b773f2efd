"""Each command has its step, and one only."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vlm_runner.core import decide
from vlm_runner.core.decide import Command, Record, WriteReport
from vlm_runner.steps.perform import perform
from vlm_runner.steps.registry import STEPS, performs

from .world import Desk


def test_every_command_has_its_step() -> None:
    """
    A step module that nobody imports would leave a run stuck in its phase.
    """
    commands = {
        kind for kind in vars(decide).values() if isinstance(kind, type) and issubclass(kind, Command)
    }

    assert set(STEPS) == commands - {Command, Record}


def test_what_pays_can_be_given_up_neither_by_stop_nor_by_cancel() -> None:
    paying = [kind for kind in STEPS if kind.pays]

    assert len(paying) == 2
    assert not any(kind.interruptible or kind.cancellable for kind in paying)


def test_a_second_step_for_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="two steps perform WriteReport"):
        performs(WriteReport)(STEPS[WriteReport])


async def test_a_command_without_a_step_says_so() -> None:
    @dataclass(frozen=True, slots=True)
    class Unknown(Command):
        pass

    with pytest.raises(TypeError, match="no step performs Unknown"):
        await perform(Unknown(), Desk().ports)
