"""
What an embedding program may bring along: protocols, and the values that they exchange.

`Runner.open` takes each of them. `vlm_runner.testing` has an in-memory implementation of most.
"""

from vlm_runner.aws.ports import (
    Account,
    Aws,
    Bedrock,
    Caller,
    CustomModel,
    Deletion,
    Endpoint,
    FoundationModel,
    Job,
    ListedObject,
    ModelRuntime,
    Objects,
    RuntimeReply,
    Scheduler,
    StoredObject,
)
from vlm_runner.aws.queue import Message, Queue
from vlm_runner.bus import Watcher
from vlm_runner.checkpoint.base import CheckpointStore, Replaced, Stored
from vlm_runner.clock import Clock
from vlm_runner.dataset.rows import Opened, Row, Subset
from vlm_runner.evaluate.metrics import Metric

__all__ = [
    "Account",
    "Aws",
    "Bedrock",
    "Caller",
    "CheckpointStore",
    "Clock",
    "CustomModel",
    "Deletion",
    "Endpoint",
    "FoundationModel",
    "Job",
    "ListedObject",
    "Message",
    "Metric",
    "ModelRuntime",
    "Objects",
    "Opened",
    "Queue",
    "Replaced",
    "Row",
    "RuntimeReply",
    "Scheduler",
    "Stored",
    "StoredObject",
    "Subset",
    "Watcher",
]
