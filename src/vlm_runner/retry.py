"""The one loop that retries, by a policy of `vlm_runner.core.retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.core.retry import Failures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from vlm_runner.clock import Clock
    from vlm_runner.core.retry import RetryPolicy


class Attempt:
    """A `with` block that keeps a retryable error for `attempts` to judge."""

    def __init__(self, errors: tuple[type[Exception], ...]) -> None:
        self._errors = errors
        self.error: Exception | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if not isinstance(error, self._errors):
            return False
        self.error = error
        return True


async def attempts(
    clock: Clock,
    policy: RetryPolicy,
    *errors: type[Exception],
    on_retry: Callable[[Exception], None] = lambda _: None,
    give_up_at: Callable[[], float] | None = None,
) -> AsyncIterator[Attempt]:
    """
    One attempt after another, until one works.

    Written as `async for attempt in attempts(...):`, `with attempt:`, and within it what may fail.

    `errors` are those that may be retried. `give_up_at` (in `clock.elapsed`) replaces the policy's patience
    where a caller's own deadline decides. `on_retry` is called with each error that is retried.

    Raises:
        Exception: the last of `errors`, once the policy says so.
    """
    failures = Failures()
    while True:
        attempt = Attempt(errors)
        yield attempt
        if attempt.error is None:
            return
        now = clock.elapsed()
        failures = failures.another(now)
        if give_up_at is None:
            again = policy.again(failures.count, failures.lasting(now))
        else:
            again = now < give_up_at()
        if not again:
            raise attempt.error
        on_retry(attempt.error)
        await clock.sleep(policy.pause(failures.count, clock.chance()))
