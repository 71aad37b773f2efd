"""The protocol holds in every order of events, and no rule of it can be left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .protocol import Bounds, Rules, Violation, explore

SAFETY = ("swap", "unique", "doubt_on_takeover", "doubt_on_loss", "sweep", "check_before_send")
"""Without any one of these something is paid for twice, or for ever."""


@pytest.mark.parametrize("rules", [Rules(), Rules(never_freed=True)], ids=["endpoint", "job"])
@pytest.mark.parametrize("bounds", [Bounds(2, 2, 2), Bounds(2, 3, 1)], ids=["two crashes", "three epochs"])
def test_nothing_breaks_a_promise_whatever_the_order(rules: Rules, bounds: Bounds) -> None:
    states = explore(rules, bounds)

    print(f"{bounds}: {states} states")
    assert states > 5_000


@pytest.mark.parametrize("rule", SAFETY)
def test_without_any_one_rule_something_breaks(rule: str) -> None:
    with pytest.raises(Violation):
        explore(replace(Rules(), **{rule: False}), Bounds(2, 2, 1))


def test_two_jobs_need_names_to_be_unique() -> None:
    with pytest.raises(Violation, match="two jobs"):
        explore(Rules(never_freed=True, unique=False), Bounds(2, 2, 1))


@pytest.mark.parametrize("rule", ["look", "undo"])
def test_two_rules_save_money_and_time_only(rule: str) -> None:
    """Looking first saves a refused create; undoing what was bought too late saves the wait for the sweep."""
    explore(replace(Rules(), **{rule: False}), Bounds(2, 2, 1))


@pytest.mark.crash
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("rules", [Rules(), Rules(never_freed=True)], ids=["endpoint", "job"])
@pytest.mark.parametrize("bounds", [Bounds(2, 4, 2), Bounds(3, 3, 1), Bounds(2, 3, 3, flying=3, bought=4)])
def test_nothing_breaks_a_promise_at_larger_bounds(rules: Rules, bounds: Bounds) -> None:
    print(f"{bounds}: {explore(rules, bounds)} states")
