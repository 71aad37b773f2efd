"""What a step needs, around a fake Bedrock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.histories import after, event_of, happy_runs
from vlm_runner.core.decide import decide
from vlm_runner.core.pace import PollPace
from vlm_runner.core.signals import Signal, Trouble
from vlm_runner.models import load_catalogue
from vlm_runner.steps.ports import Ports
from vlm_runner.testing import FakeAws, FakeBedrock, FakeClock, TinyDataset

if TYPE_CHECKING:
    from vlm_runner.core.decide import Command
    from vlm_runner.core.run import Phase, Run


class Desk:
    def __init__(self, **bedrock: Any) -> None:
        self.clock = FakeClock()
        self.bedrock = FakeBedrock(**bedrock)
        self.signals: list[Signal] = []
        self.ports = Ports(
            aws=FakeAws(self.bedrock),
            clock=self.clock,
            catalogue=load_catalogue(),
            open_dataset=TinyDataset(),
            signal=self.signals.append,
            poll=PollPace(),
        )

    @property
    def troubles(self) -> list[str]:
        return [signal.message for signal in self.signals if isinstance(signal, Trouble)]


def at(phase: Phase, *kinds: str, **sections: Any) -> Run:
    """A run in `phase`, after events of these kinds."""
    run = next(run for run, _ in happy_runs(sections=sections) if run.phase is phase)
    for kind in kinds:
        run = after(run, event_of(kind, run))
    return run


def command(phase: Phase, *kinds: str, **sections: Any) -> Any:
    found: Command = decide(at(phase, *kinds, **sections))
    return found
