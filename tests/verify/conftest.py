from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from vlm_runner.verify.kit import RECORDING, Wanted

from .desk import SLOW, Desk, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True, scope="session")
def credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield


@pytest.fixture(scope="package")
def recorded(tmp_path_factory: pytest.TempPathFactory, credentials: None) -> Path:
    """Of a verification that nothing disturbed."""
    folder = tmp_path_factory.mktemp("recorded")

    async def verify(desk: Desk) -> None:
        async with desk.session():
            result = await desk.verify(folder, Wanted(level=2, max_cost=500))
            otherwise = {row.assumption.id for row in result.rows if row.judgement.verdict != "same"}
            assert otherwise == set()

    for sandbox in running():
        sandbox.state.change_scenario(SLOW)
        anyio.run(verify, Desk(sandbox))
    return folder / RECORDING
