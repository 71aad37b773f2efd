from __future__ import annotations

import pytest

from vlm_runner.errors import ConfigurationError
from vlm_runner.plan.check import Check, Status
from vlm_runner.plan.refusal import refuse_bad


def check(code: str, status: Status, fix: str = "") -> Check:
    return Check(code, status, code.lower(), f"{code} is {status}", fix)


@pytest.mark.parametrize(
    ("bad", "more"), [(1, ""), (2, " (and 1 more: doctor)"), (3, " (and 2 more: doctor)")]
)
def test_a_refusal_names_the_first_bad_check_and_counts_the_others(bad: int, more: str) -> None:
    checks = [check("C0", Status.GOOD), *(check(f"B{n}", Status.BAD, f"mend {n}") for n in range(bad))]

    with pytest.raises(ConfigurationError) as refused:
        refuse_bad(checks, all_of_them="doctor", hint="{}Then start again.".format)

    assert refused.value.message == f"b0: B0 is bad (B0){more}. Nothing was created."
    assert refused.value.hint == "Fix: mend 0\nThen start again."


def test_what_is_not_bad_is_not_refused() -> None:
    others = [check(status, status) for status in Status if status is not Status.BAD]

    refuse_bad(others, all_of_them="doctor", hint=str)

    assert others
