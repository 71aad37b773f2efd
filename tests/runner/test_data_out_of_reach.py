"""Data that cannot be read for now, or a full disk, halts a run: it is resumed, and nothing is lost."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.core.signals import DownloadProgress
from vlm_runner.dataset.downloads import Downloads
from vlm_runner.errors import OutOfResources, SourceUnavailable, VlmRunnerError
from vlm_runner.testing import TinyDataset, World

if TYPE_CHECKING:
    from vlm_runner.spec import RunSpec


class Failing(TinyDataset):
    """Is there for `prepare`, and then, when it is to be staged, away for so many times."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__()
        self.error, self.times, self.opens = error, times, 0

    def __call__(self, spec: RunSpec, revision: str | None) -> Any:
        self.opens += 1
        if 1 < self.opens <= 1 + self.times:
            raise self.error
        return super().__call__(spec, revision)


ERRORS = [
    SourceUnavailable("The Hub is away."),
    OutOfResources("The disk is full."),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_passes_is_waited_for(error: Exception) -> None:
    world = World()
    world.dataset = Failing(error, times=3)

    run = await world.live()

    assert run.outcome == "succeeded"
    assert await world.violations() == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_lasts_halts_the_run_and_a_resume_goes_on(error: Exception) -> None:
    world = World()
    world.dataset = Failing(error, times=10_000)

    with pytest.raises(VlmRunnerError) as halted:
        await world.live()
    before = await world.outcome()
    world.dataset = TinyDataset()
    run = await world.live()

    assert isinstance(halted.value, SourceUnavailable | OutOfResources)
    assert (before.run.phase, before.run.outcome) == ("staging", None)
    assert run.outcome == "succeeded"


async def test_what_is_downloaded_while_a_dataset_is_opened_is_signalled() -> None:
    class Remote(TinyDataset):
        def __call__(self, spec: RunSpec, revision: str | None) -> Any:
            Downloads().add("a.parquet", 700)
            return super().__call__(spec, revision)

    world = World()
    world.dataset = Remote()

    await world.live()

    told = [signal for signal in world.signals if isinstance(signal, DownloadProgress)]
    once = [("a.parquet", 700, False), ("a.parquet", 700, True)]
    assert [
        (signal.file, signal.bytes, signal.done) for signal in told
    ] == once * 2  # to prepare, and to stage
