"""A sandbox in a process of its own, for the demonstration and for notebooks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.request import urlopen

from vlm_runner.errors import UsageError, VlmRunnerError

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS: Final = 30.0
NEEDED: Final = ("anycrc", "moto", "uvicorn")
"""What the sandbox imports, and only the extra `sandbox` installs."""


def not_installed(module: str | None) -> UsageError:
    """For a sandbox that was asked for where its extra is missing."""
    return UsageError(
        f"The sandbox needs more than is installed ({module}).",
        hint="Install it with: pip install 'vlm-runner[sandbox]', "
        "or run it from a place of its own: uvx --from 'vlm-runner[sandbox]' vlm-runner demo",
    )


def check_installed() -> None:
    """
    Look for what the sandbox imports, without importing it.

    Raises:
        UsageError: a part of the extra is missing; it names the module, and how to install it.
    """
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            raise not_installed(module)


@dataclass(frozen=True, slots=True)
class SandboxProcess:
    url: str
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, *, speed: float) -> Self:
        """
        Start a sandbox, and wait until it answers. Blocks. Its log goes to `folder`.

        `speed`: simulated seconds a second.

        Raises:
            UsageError: the extra is not installed; nothing was started or written.
            VlmRunnerError: it did not start.
        """
        check_installed()
        folder.mkdir(parents=True, exist_ok=True)
        ready, log = folder / "sandbox.url", folder / "sandbox.log"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "vlm_runner.sandbox", "--port", "0", "--ready-file", str(ready)]
        with log.open("wb") as out:
            process = subprocess.Popen([*command, "--speed", str(speed)], stdout=out, stderr=out)  # noqa: S603
        deadline = time.monotonic() + START_SECONDS
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                _end(process)
                raise VlmRunnerError(f"The sandbox did not start; its log is {log}.")
            time.sleep(0.05)
        return cls(ready.read_text().strip(), process)

    def ledger(self) -> list[dict[str, Any]]:
        """What AWS would have put on the bill, an entry for each thing that costs."""
        with urlopen(f"{self.url}/_sandbox/ledger", timeout=10) as response:  # noqa: S310 - our own server
            entries: list[dict[str, Any]] = json.load(response)["entries"]
        return entries

    def billing_by_the_hour(self) -> list[str]:
        """The names of what is still rented."""
        hourly = (entry for entry in self.ledger() if entry["kind"] == "provisioned_throughput")
        return [str(entry["name"]) for entry in hourly if entry["still_billing"]]

    def stop(self) -> None:
        _end(self.process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
