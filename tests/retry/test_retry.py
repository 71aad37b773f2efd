"""Retrying: one loop, by the policies of one table."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from vlm_runner.core import retry as policies
from vlm_runner.core.retry import LOAD, POLICIES, SAVE, RetryPolicy, table
from vlm_runner.retry import attempts
from vlm_runner.testing import FakeClock

SRC = Path(__file__).parents[2] / "src" / "vlm_runner"


async def fail(
    clock: FakeClock,
    policy: RetryPolicy,
    times: float,
    *,
    taking: float = 0.0,
    error: type[Exception] = ConnectionError,
    until: float | None = None,
) -> tuple[int, list[Exception]]:
    """How often it was tried until it worked, and what was reported."""
    told: list[Exception] = []
    tried = 0
    give_up_at = None if until is None else lambda: until
    async for attempt in attempts(
        clock, policy, ConnectionError, on_retry=told.append, give_up_at=give_up_at
    ):
        with attempt:
            tried += 1
            await clock.sleep(taking)
            if tried <= times:
                raise error(tried)
    return tried, told


async def test_what_works_is_done_once() -> None:
    assert await fail(FakeClock(), LOAD, 0) == (1, [])


async def test_each_failure_that_is_retried_is_reported() -> None:
    tried, told = await fail(FakeClock(), LOAD, 3)

    assert tried == 4
    assert [error.args for error in told] == [(1,), (2,), (3,)]


async def test_as_many_attempts_as_the_policy_says_and_then_the_last_error() -> None:
    with pytest.raises(ConnectionError, match="5"):
        await fail(FakeClock(), LOAD, 99)


async def test_as_long_as_the_policy_says_from_the_first_failure_on() -> None:
    clock = FakeClock()
    began = clock.elapsed()

    with pytest.raises(ConnectionError):
        await fail(clock, SAVE, 10**6, taking=1.0)

    assert SAVE.patience <= clock.elapsed() - began <= SAVE.patience + SAVE.longest + 2


async def test_another_error_ends_it_at_once() -> None:
    with pytest.raises(KeyError):
        await fail(FakeClock(), LOAD, 1, error=KeyError)


async def test_a_deadline_of_the_caller_replaces_the_patience() -> None:
    clock = FakeClock()
    until = clock.elapsed() + 30

    with pytest.raises(ConnectionError):
        await fail(clock, SAVE, 10**6, until=until)

    assert 30 <= clock.elapsed() - (until - 30) <= 30 + SAVE.longest


@pytest.mark.parametrize("policy", POLICIES, ids=lambda one: one.what)
def test_pauses_grow_and_are_bounded(policy: RetryPolicy) -> None:
    pauses = [policy.pause(failures, 1.0) for failures in range(1, 40)]

    assert pauses == sorted(pauses)
    assert pauses[-1] == policy.longest
    assert policy.pause(1, 0.0) == 0.0


def test_the_table_has_a_row_for_each_policy_and_says_how_long() -> None:
    rows = table()[2:]

    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [one.what for one in POLICIES]
    assert "15 minutes" in rows[0]
    assert "5 attempts" in rows[POLICIES.index(LOAD)]
    assert not replace(LOAD, attempts=2).again(2, 0.0)


def test_no_module_has_a_retry_formula_of_its_own() -> None:
    """A pause that grows with a power stands in core/retry.py and core/pace.py, and nowhere else."""
    found = {
        str(path.relative_to(SRC))
        for path in SRC.rglob("*.py")
        if "2.0 **" in (text := path.read_text()) or ("2 **" in text and "sleep(" in text)
    }

    assert found - {"core/retry.py"} == set()


NAMES = [name for name, value in vars(policies).items() if isinstance(value, RetryPolicy)]


@pytest.mark.parametrize("name", NAMES)
def test_each_policy_is_used_in_the_module_that_the_table_names(name: str) -> None:
    module = SRC / f"{getattr(policies, name).module.replace('.', '/')}.py"

    assert name in {node.id for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Name)}


def test_every_policy_is_in_the_table() -> None:
    assert {id(getattr(policies, name)) for name in NAMES} == {id(policy) for policy in POLICIES}
