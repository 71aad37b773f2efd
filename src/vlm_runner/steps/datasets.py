"""Datasets on their way from `prepare` to staging in one process: each is opened once, and linted once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.dataset.rows import Opened
    from vlm_runner.lint import LintReport

KEPT = 8
"""Datasets of runs that were prepared and not yet staged; a service may prepare runs and never start them."""


@dataclass(slots=True)
class _Prepared:
    opened: Opened
    report: LintReport | None = None


class OpenDatasets:
    """By the uid of their run."""

    def __init__(self) -> None:
        self._kept: dict[str, _Prepared] = {}

    def keep(self, uid: str, opened: Opened, report: LintReport | None = None) -> None:
        """Keep what `prepare` opened, and linted if it did, for the preview and the staging of that run."""
        self._kept[uid] = _Prepared(opened, report)
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]

    async def opened(self, uid: str, open_dataset: Callable[[], Opened]) -> Opened:
        """The dataset of the run, opened in a worker thread unless it is open."""
        if (known := self._kept.get(uid)) is None:
            self.keep(uid, await to_thread.run_sync(open_dataset))
            known = self._kept[uid]
        return known.opened

    async def report(self, uid: str, lint: Callable[[], LintReport]) -> LintReport:
        """What lint says about the dataset of the run, linted in a worker thread unless it was."""
        known = self._kept.get(uid)
        if known is not None and known.report is not None:
            return known.report
        report = await to_thread.run_sync(lint)
        if known is not None:
            known.report = report
        return report

    def take(self, uid: str) -> Opened | None:
        """
        Hand the dataset on to staging, and forget it; None if it must be opened again.

        Only a commit of the Hub cannot have changed since it was opened. Local files can, and opening them
        again is what finds that out.
        """
        known = self._kept.pop(uid, None)
        return known.opened if known is not None and known.opened.revision is not None else None
