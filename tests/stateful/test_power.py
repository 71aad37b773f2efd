"""That the state machine can fail: a rule of the protocol that it finds missing by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.mutants.test_mutants import MUTANTS, Mutant, mutate

from .machine import RunMachine
from .test_any_order import COMMON

FOUND = {"saves compare and swap"}
"""Others are found by worlds made for them (tests/mutants), and not by chance within hundreds of orders."""


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS if mutant.rule in FOUND], ids=lambda mutant: mutant.rule
)
def test_the_machine_finds_what_is_missing(mutate: Any, mutant: Mutant) -> None:
    mutate(mutant.where, mutant.what, mutant.old, mutant.new)

    with pytest.raises(BaseException):  # noqa: B017, PT011 - a mutant may break in any way
        run_state_machine_as_test(
            RunMachine,
            settings=settings(
                COMMON,
                print_blob=False,
                max_examples=600,
                stateful_step_count=40,
                phases=[Phase.generate],
                database=None,
                derandomize=True,
                report_multiple_bugs=False,
            ),
        )


__all__ = ["mutate"]
