"""Many runs, one after another and at once, in one process whose credentials change under it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner import Runner, RunSpec, Settings
from vlm_runner.aws.connections import http_session

from .credentials import RotatingCredentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.laptop import Laptop

NOVA = "amazon.nova-lite-v1:0:300k"
ROLE = "arn:aws:iam::123456789012:role/bedrock-sft"


@pytest.fixture
def rotating(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Iterator[RotatingCredentials]:
    for name, value in laptop.environment.items():
        if name.startswith(("AWS_", "VLM_")):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    # botocore reads the authorities at each refresh, 18 ms of CPU that a run pays once an hour.
    for name in ("_create_connector", "_over_tls"):
        part = vars(http_session())[name]
        monkeypatch.setattr(f"aiobotocore.utils._RefCountedSession.{name}", part, raising=False)
    with RotatingCredentials(
        lambda keys: laptop.ask("scenario", {"expired_access_keys": keys})
    ) as credentials:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", credentials.url)
        yield credentials


def spec_for(pages: Path, wave: int) -> RunSpec:
    """Another wave has other keys, so that it uploads all over again."""
    return RunSpec.from_table(
        {
            "dataset": {"source": str(pages), "validation_split": "validation"},
            "model": {"base": NOVA},
            "training": {"role_arn": ROLE},
            "storage": {"prefix": f"wave-{wave}"},
            "serving": {"mode": "provisioned"},
            "test": {"rows": 1},
            "aws": {"region": "us-east-1"},
        }
    )


def megabytes() -> float:
    """What this process holds of memory that it shares with nobody (proc_pid_smaps)."""
    gc.collect()
    text = Path("/proc/self/smaps_rollup").read_text()
    private = [line.split()[1] for line in text.splitlines() if line.startswith("Private_")]
    return sum(int(kilobytes) for kilobytes in private) / 1024


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def soak(laptop: Laptop, pages: Path, *, waves: int, runs: int, settings: Settings) -> dict[str, Any]:
    laptop.ask("scenario", {"running_jobs": 1000, "scheduled_jobs": 1000, "no_commitment_units": 1000})
    memory, files = [], []
    async with Runner.open(settings) as runner:
        for wave in range(waves):
            handles = [
                await runner.start(spec_for(pages, wave), run_id=f"wave-{wave}-{number}")
                for number in range(runs)
            ]
            outcomes = [(await handle.result()).outcome for handle in handles]
            assert outcomes == ["succeeded"] * runs
            memory.append(megabytes())
            files.append(open_files())
    return {"memory": memory, "files": files}


def judge(laptop: Laptop, runs: int) -> None:
    assert len(laptop.paid("customization_job")) == runs
    rented = laptop.paid("provisioned_throughput")
    assert len(rented) == runs
    assert not any(entry["still_billing"] for entry in rented)


async def test_credentials_that_change_at_every_request_disturb_nothing(
    laptop: Laptop, pages: Path, rotating: RotatingCredentials
) -> None:
    await soak(laptop, pages, waves=1, runs=3, settings=Settings.from_environment())

    judge(laptop, 3)
    assert rotating.given > 100
    keys = {call["access_key"] for call in laptop.ask("calls")["recent"]}
    assert len(keys) > 50
    assert all(key.startswith("ASIA") for key in keys)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_waves_of_runs_leave_memory_and_files_as_they_were(
    laptop: Laptop, pages: Path, rotating: RotatingCredentials
) -> None:
    seen = await soak(laptop, pages, waves=6, runs=20, settings=Settings.from_environment())
    print(seen, "credentials:", rotating.given)

    judge(laptop, 120)
    assert rotating.given > 500
    assert seen["memory"][-1] - seen["memory"][1] < 20
    # Connections come and go; what leaks only comes.
    assert min(seen["files"][3:]) <= max(seen["files"][:3])
