"""What a dataset downloads while it is opened, as signals."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vlm_runner.core.signals import DownloadProgress
from vlm_runner.dataset.downloads import listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.steps.ports import Ports


@contextmanager
def downloads_signalled(ports: Ports) -> Iterator[None]:
    """Around what opens or reads a dataset before it is staged; the threads that do are heard."""
    loop, last, over = asyncio.get_running_loop(), None, False

    def signal(progress: DownloadProgress) -> None:
        if not over:
            ports.signal(progress)

    def tell(file: str, size: int, seconds: float) -> None:
        nonlocal last
        last = DownloadProgress(file=file, bytes=size, seconds=seconds)
        with suppress(RuntimeError):  # a thread that fetches ahead may outlive the loop
            loop.call_soon_threadsafe(signal, last)

    try:
        with listening(tell):
            yield
    finally:
        over = True
        if last is not None:
            ports.signal(last.model_copy(update={"done": True}))
