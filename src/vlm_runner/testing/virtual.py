"""
An asyncio loop whose time jumps to the next timer when nothing else can happen.

In pytest with pytest-asyncio, a `conftest.py` that says

    from vlm_runner.testing.virtual import pytest_asyncio_loop_factories

runs all async tests below it on such a loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import to_thread
from anyio._backends._asyncio import (
    _threadpool_idle_workers,
    _threadpool_workers,
)
from anyio.lowlevel import _run_vars, checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

T = TypeVar("T")

BEGINNING = 1000.0


class Stuck(RuntimeError):
    """Nothing is ready, no timer is set and no thread is at work: this loop would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """While worker threads are busy, time stands still and the loop really waits for them."""

    def __init__(self) -> None:
        self._virtual_now = BEGINNING
        self._executing = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        self._virtual_now += seconds

    @property
    def busy(self) -> bool:
        """A thread works for this loop."""
        if self._executing:
            return True
        # Not `.get()`: between two callbacks there is no task, and by sniffio, if installed, no loop either.
        of_this_loop = _run_vars.get(self, {})
        workers, idle = (
            of_this_loop.get(each, ()) for each in (_threadpool_workers, _threadpool_idle_workers)
        )
        return len(workers) > len(idle)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self._executing += 1
        future.add_done_callback(self._executed)
        return future

    def _executed(self, _: object) -> None:
        self._executing -= 1


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0 and len(self.get_map()) == 1:
            # There is work to do first, and no file to hear from but the loop's own, which only wakes it up.
            return []
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._loop.busy:
            return super().select(1.0)
        if timeout is not None:
            self._loop.jump(timeout)
            return []
        if len(self.get_map()) > 1:
            return super().select(1.0)
        raise Stuck("Nothing can happen any more on this loop, and it has not finished.")


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]], *, inline_threads: bool = True) -> T:
    """
    Run `main()` to its end on a loop of its own.

    With `inline_threads`, what is meant for worker threads runs on the loop: quicker, and in the same order
    every time.
    """
    with contextlib.ExitStack() as stack:
        if inline_threads:
            stack.enter_context(threads_inline())
        runner = stack.enter_context(asyncio.Runner(loop_factory=VirtualLoop))
        return runner.run(main())


@contextlib.contextmanager
def threads_inline() -> Iterator[None]:
    """`anyio.to_thread.run_sync` does it at once, on the loop's own thread."""
    real = to_thread.run_sync

    async def at_once(func: Callable[..., T], *args: Any, **_: Any) -> T:
        await checkpoint()
        return func(*args)

    to_thread.run_sync = at_once  # type: ignore[assignment]
    try:
        yield
    finally:
        to_thread.run_sync = real


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], VirtualLoop]]:  # noqa: ARG001 - pytest-asyncio's hook
    return {"virtual": VirtualLoop}
