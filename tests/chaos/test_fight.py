"""What the fight says of a run that does not end, and of a machine that is too busy to tell."""

from __future__ import annotations

import pytest

from tests.chaos.fight import CALM_MOST, CALM_SECONDS, KEEPS_UP, Score, Watch, too_long


def watch(lag: float) -> Watch:
    made = Watch(60, say=False)
    made._late.extend([lag] * 3)
    return made


@pytest.mark.parametrize(
    ("seconds", "lag", "ends", "exit_code"),
    [
        (CALM_SECONDS, 0.0, False, 0),
        (CALM_SECONDS + 1, KEEPS_UP, True, 1),
        (CALM_SECONDS + 1, KEEPS_UP + 0.01, False, 0),
        (CALM_MOST + 1, KEEPS_UP + 0.01, True, 2),
    ],
    ids=["may still end", "should have ended", "the machine is slow", "the machine is too slow"],
)
def test_only_a_machine_that_keeps_up_makes_a_run_that_does_not_end_a_violation(
    seconds: float, lag: float, ends: bool, exit_code: int
) -> None:
    score = Score()

    assert too_long("cats", "warming", seconds, watch(lag), score) is ends
    assert score.exit_code == exit_code


def test_a_violation_is_told_before_a_busy_machine() -> None:
    score = Score(generations=3, kills=40)
    assert score.verdict == "HELD: 3 runs, 40 kills, no violation."

    score.inconclusive.append("cats: 2 jobs")
    assert score.verdict.startswith("INCONCLUSIVE")

    score.violations.append("cats: an epoch with two holders")
    assert (score.verdict, score.exit_code) == ("VIOLATED: 1 violations.", 1)


def test_progress_is_told_from_time_to_time(capsys: pytest.CaptureFixture[str]) -> None:
    told = Watch(600, say=True)

    told.tell("cats is warming", Score())
    assert capsys.readouterr().out == ""
    told.tell("the judges read", Score(kills=7), now=True)

    assert "of 10 minutes: the judges read; 0 runs ended, 7 kills" in capsys.readouterr().out
