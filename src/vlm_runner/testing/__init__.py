"""
Doubles for tests of vlm-runner, and of programs that embed it: hours take no time, and fakes count.

`World` has all of AWS in memory, `World.process` gives one of many processes that share it, and a `Plan`
says where that process dies, stops, freezes, or loses an answer.
"""

from vlm_runner.testing.bedrock import FakeBedrock, Paid
from vlm_runner.testing.clock import FakeClock
from vlm_runner.testing.dataset import TinyDataset
from vlm_runner.testing.faults import Crash, Fault, Plan, Process
from vlm_runner.testing.objects import FakeObjects, FakeS3
from vlm_runner.testing.store import MemoryStore
from vlm_runner.testing.virtual import Stuck, VirtualLoop, run_virtual
from vlm_runner.testing.world import FakeAws, World

__all__ = [
    "Crash",
    "FakeAws",
    "FakeBedrock",
    "FakeClock",
    "FakeObjects",
    "FakeS3",
    "Fault",
    "MemoryStore",
    "Paid",
    "Plan",
    "Process",
    "Stuck",
    "TinyDataset",
    "VirtualLoop",
    "World",
    "run_virtual",
]
