"""A world in which the run "cats" is finished, and how its model is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.testing import World, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vlm_runner.runner import RunHandle, Runner


def in_world(act: Callable[[World, Runner], Awaitable[Any]], **sections: Any) -> Any:
    """What `act` returns, in a world in which the run "cats" is finished."""

    async def main() -> Any:
        world = World(**sections)
        await world.live()
        async with world.runner() as runner:
            return await act(world, runner)

    return run_virtual(main)


async def serving(runner: Runner) -> RunHandle:
    """The run that serves until it is ended, once it does."""
    handle = await runner.serve("cats")
    async for entry in handle.events():
        if entry.event.kind == "tests_answered":
            return handle
    raise AssertionError("it never served")
