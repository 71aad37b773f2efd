"""Task groups that raise the error itself instead of a group, where only one error matters."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from anyio.abc import TaskGroup


@contextlib.asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """
    An anyio task group that raises its tasks' error bare instead of wrapped in a group.

    Where several tasks fail at once, the first row's error is raised, or else the first error; the group
    is its cause.
    """
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _foremost(errors) from errors


def _foremost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    def rank(error: BaseException) -> tuple[bool, int]:
        row = getattr(error, "row", None)
        return (isinstance(error, Exception), row if isinstance(row, int) else -1)

    return min(_leaves(group), key=rank)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
