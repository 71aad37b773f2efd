"""What a step may touch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vlm_runner.aws.ports import Encryption
from vlm_runner.core.pace import PollPace
from vlm_runner.core.signals import Trouble
from vlm_runner.ingest.pipeline import Share
from vlm_runner.settings import UploadSettings
from vlm_runner.steps.datasets import OpenDatasets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vlm_runner.aws.ports import Aws, Objects
    from vlm_runner.clock import Clock
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal
    from vlm_runner.dataset.rows import Opened
    from vlm_runner.evaluate import Metric
    from vlm_runner.models import Catalogue
    from vlm_runner.spec import RunSpec
    from vlm_runner.steps.job_wakeups import JobWakeups
    from vlm_runner.steps.test_calls import BaseCalls


@dataclass(frozen=True, slots=True)
class Ports:
    aws: Aws
    clock: Clock
    catalogue: Catalogue
    open_dataset: Callable[[RunSpec, str | None], Opened]
    """Blocking; the second argument is the pinned revision, None for the spec's own."""
    signal: Callable[[Signal], None]
    datasets: OpenDatasets = field(default_factory=OpenDatasets)
    poll: PollPace = field(default_factory=PollPace)
    history: Sequence[Entry] = ()
    """The run's history when the step begins."""
    metrics: Mapping[str, Metric] = field(default_factory=dict[str, "Metric"])
    """Metrics passed to Runner.open, in addition to spec.test.metrics."""
    metric_modules: tuple[str, ...] = ()
    """See Settings."""
    upload: UploadSettings = field(default_factory=UploadSettings)
    share: Share = field(default_factory=Share)
    """Of the images, where several machines stage one run."""
    wakeups: JobWakeups | None = None
    """Set where a queue reports state changes."""
    base_calls: BaseCalls | None = None
    """Set while a run is driven: test calls that outlive the step that began them."""

    async def rest(self, seconds: float, about: str | None = None) -> bool:
        """Sleep until the time is up, or a message about the ARN `about` arrives; True for a message."""
        if self.wakeups is not None and about is not None:
            return await self.wakeups.rest(seconds, about)
        await self.clock.sleep(seconds)
        return False

    def bucket_of(self, run: Run) -> Objects:
        storage = run.spec.storage
        asked = Encryption(storage.sse, storage.kms_key) if storage.sse is not None else None
        return self.aws.objects(run.bucket, owner=run.account, encryption=asked)

    def trouble(self, doing: str, error: object) -> None:
        self.signal(Trouble(doing=doing, message=str(error) or repr(error)))
