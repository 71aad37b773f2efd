from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vlm_runner.sandbox.prices import PriceList


@dataclass(frozen=True)
class SandboxOptions:
    """
    How one sandbox starts. What may change while it runs is in `scenario.Scenario`.

    `port=0` takes a free one. `ready_file` gets the URL once the server listens.
    `as_of` is where simulated time begins: lifecycles of models are judged by it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    speed: float = 1.0
    as_of: datetime | None = None
    account: str = "123456789012"
    seed: int = 0
    prices: PriceList = field(default_factory=PriceList)
