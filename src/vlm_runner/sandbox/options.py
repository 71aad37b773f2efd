from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vlm_runner.sandbox.prices import PriceList


@dataclass(frozen=True)
class SandboxOptions:
    """
    The options at start. What can change while it runs is in `scenario.Scenario`.

    `port=0` takes a free port. The URL is written to `ready_file` once the server listens.
    Simulated time begins at `as_of`, which decides which models are available.
    """

    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    speed: float = 1.0
    as_of: datetime | None = None
    account: str = "123456789012"
    seed: int = 0
    prices: PriceList = field(default_factory=PriceList)
    model_units: int = 0
    """The quota of model units without commitment; with AWS's default there is no throughput."""
    roles: tuple[str, ...] = ("bedrock-sft",)
    """Names of roles that the account has from the start; each trusts Bedrock, for this account's jobs."""
    record: Path | None = None
    """A file to which every exchange with a service of the sandbox's own is written, as a line of JSON."""
    hosts: tuple[str, ...] = ()
    """Names it also answers to, besides `host`, loopback names and addresses; see `sandbox.hosts`."""
