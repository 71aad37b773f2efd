"""The dataset of a run that exists, as it was when the run was created."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from anyio import to_thread

from vlm_runner.errors import DataError
from vlm_runner.steps.downloads import downloads_signalled

if TYPE_CHECKING:
    from vlm_runner.core.run import Run
    from vlm_runner.dataset.rows import Opened
    from vlm_runner.steps.ports import Ports


async def opened_dataset(run: Run, ports: Ports) -> Opened:
    """
    The dataset of the run, opened unless this process has it open already.

    Raises:
        DataError: it has changed since the run was created.
    """
    with downloads_signalled(ports):
        opened = await ports.datasets.opened(
            run.uid, partial(ports.open_dataset, run.spec, run.dataset.revision)
        )
    return _unchanged(opened, run)


async def reopened_dataset(run: Run, ports: Ports) -> Opened:
    """
    As `opened_dataset`, for the last look at it: what is local, and so may have changed, is opened again.

    Raises:
        DataError: it has changed since the run was created.
    """
    opened = ports.datasets.take(run.uid)
    if opened is None:
        with downloads_signalled(ports):
            opened = await to_thread.run_sync(ports.open_dataset, run.spec, run.dataset.revision)
    return _unchanged(opened, run)


def _unchanged(opened: Opened, run: Run) -> Opened:
    if opened.fingerprint != run.dataset.fingerprint:
        raise DataError(
            f"The dataset {run.spec.dataset.source} has changed since run {run.run_id} was created.",
            hint="Restore it and resume, or start a new run on the new data with: --run-id NEW",
        )
    return opened
