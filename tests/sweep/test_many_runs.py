"""Many runs in one process: what `benchmarks/many_runs.py` measures with a hundred."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.many_runs import drive

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.laptop import Laptop

RUNS, LIMIT = 40, 4


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_many_runs_in_one_process_keep_to_the_accounts_limit(
    laptop: Laptop, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in laptop.environment.items():
        if name.startswith(("AWS_", "VLM_RUNNER_POLL")):
            monkeypatch.setenv(name, value)

    found = await drive(laptop, pages, RUNS, LIMIT)

    assert (found["runs"], found["succeeded"], found["jobs_in_ledger"]) == (RUNS, RUNS, RUNS)
    assert found["most_jobs_at_once"] == LIMIT
    assert found["most_throughputs_at_once"] == 2
    assert found["still_billing"] == 0
    refused = [key for key in laptop.ask("calls")["by_status"] if key.startswith("CreateModelCust")]
    assert refused == ["CreateModelCustomizationJob 201"]
