"""The one loop that retries, by a policy of `vlm_runner.core.retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from vlm_runner.core.retry import Failures

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from vlm_runner.clock import Clock
    from vlm_runner.core.retry import RetryPolicy


class Attempt:
    """A `with` block that keeps a retryable error for `attempts` to judge."""

    __slots__ = ("_errors", "error")

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


class attempts:  # noqa: N801 - read as `async for attempt in attempts(...)`
    """
    One attempt after another, until one works.

    Written as `async for attempt in attempts(...):`, `with attempt:`, and within it what may fail.

    `errors` are those that may be retried. `give_up_at` (in `clock.elapsed`) replaces the policy's patience
    where a caller's own deadline decides. `on_retry` is called with each error that is retried.

    Raises:
        Exception: the last of `errors`, once the policy says so.
    """

    # No generator: every image's upload begins one, and the event loop keeps a list of all generators.
    __slots__ = ("_attempt", "_clock", "_errors", "_failures", "_give_up_at", "_on_retry", "_policy")

    def __init__(
        self,
        clock: Clock,
        policy: RetryPolicy,
        *errors: type[Exception],
        on_retry: Callable[[Exception], None] = lambda _: None,
        give_up_at: Callable[[], float] | None = None,
    ) -> None:
        self._clock, self._policy, self._errors = clock, policy, errors
        self._on_retry, self._give_up_at = on_retry, give_up_at
        self._attempt: Attempt | None = None
        self._failures = Failures()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._attempt is not None:
            if self._attempt.error is None:
                raise StopAsyncIteration
            await self._judge(self._attempt.error)
        self._attempt = Attempt(self._errors)
        return self._attempt

    async def _judge(self, error: Exception) -> None:
        now = self._clock.elapsed()
        failures = self._failures = self._failures.another(now)
        if self._give_up_at is None:
            again = self._policy.again(failures.count, failures.lasting(now))
        else:
            again = now < self._give_up_at()
        if not again:
            raise error
        self._on_retry(error)
        await self._clock.sleep(self._policy.pause(failures.count, self._clock.chance()))
