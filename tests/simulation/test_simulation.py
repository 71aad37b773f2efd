"""Histories of processes that fight for one run, from seeds; each that ever went wrong is kept below."""

from __future__ import annotations

from collections import Counter

import pytest
from structlog.testing import capture_logs

from .simulate import simulate

SEEDS = 520
BATCHES = 8
BEFALLEN = 64
"""Seeds of histories with incidents; `--seeds` is for these too."""
KEPT: tuple[int, ...] = ()
"""Seeds that found something once."""


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_history_breaks_a_promise(request: pytest.FixtureRequest, batch: int) -> None:
    """One job, nothing left that bills, one line of checkpoints, nothing told and lost, and an end."""
    seeds = request.config.getoption("--seeds", SEEDS) or SEEDS
    first = request.config.getoption("--first-seed", 0) or 0
    happened: Counter[str] = Counter()
    wrong = []
    for seed in range(first + batch, first + seeds, BATCHES):
        history = simulate(seed)
        happened += history.happened
        if history.wrong:
            wrong.append((seed, history.wrong))
    print(dict(sorted(happened.items())))

    assert wrong == []


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("batch", range(2))
def test_no_history_breaks_a_promise_whatever_befalls_its_processes(
    request: pytest.FixtureRequest, batch: int
) -> None:
    """Their objects, checkpoint, store, credentials, rights, clocks and endpoints, besides all the above."""
    first = request.config.getoption("--first-seed", 0) or 0
    seeds = request.config.getoption("--seeds", None) or BEFALLEN
    happened: Counter[str] = Counter()
    wrong = []
    for seed in range(first + batch, first + seeds, 2):
        with capture_logs() as logs:
            history = simulate(seed, befalls=True)
        happened += history.happened
        crashes = [log["event"] for log in logs if log["log_level"] == "error"]
        if history.wrong or crashes:
            wrong.append((seed, history.wrong, crashes))
    print(dict(sorted(happened.items())))

    assert wrong == []
    assert happened["checkpoint cut in half"] > 0
    assert happened["data/train.jsonl overwritten"] > 0


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_found_something_stays_good(seed: int) -> None:
    assert simulate(seed).wrong == []


@pytest.mark.parametrize("seed", range(8))
def test_the_same_seed_is_the_same_history_to_the_byte(seed: int) -> None:
    assert simulate(seed).digest == simulate(seed).digest
