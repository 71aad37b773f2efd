"""What others counted is a count, or refused where it is read."""

from __future__ import annotations

import pytest

from vlm_runner.aws.answers import AwsAnswer
from vlm_runner.core.counts import MOST_TOKENS, counted
from vlm_runner.core.events import TestsAnswered
from vlm_runner.errors import AwsUnavailable
from vlm_runner.evaluate import ModelAnswer
from vlm_runner.models.answer import Answer
from vlm_runner.steps.ask import reply_of

NO_COUNTS = [-1, 2.5, MOST_TOKENS + 1, 1e300, float("inf"), float("nan"), 10**400, True, "7"]


@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda value: repr(value)[:12])
def test_what_is_no_count_of_tokens_is_no_answer_of_aws(value: object) -> None:
    with pytest.raises(AwsUnavailable, match="as inputTokens"):
        AwsAnswer("Converse", {"inputTokens": value}).count("inputTokens", MOST_TOKENS)


@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda value: repr(value)[:12])
def test_nor_of_a_model_that_is_invoked(value: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        reply_of(Answer("text", input_tokens=value))  # type: ignore[arg-type]  # nobody has looked at it


def test_what_is_taken_from_each_call_can_be_kept_with_its_sum() -> None:
    """Else an answer that was taken would end the run when it is saved."""
    tokens = counted(MOST_TOKENS, MOST_TOKENS)
    assert ModelAnswer(input_tokens=tokens).input_tokens == MOST_TOKENS
    total = 9_000_000 * tokens
    kept = TestsAnswered(uri=None, asked=9_000_000, held_out=True, input_tokens=total)
    assert kept.input_tokens == total


def test_a_count_of_bytes_may_be_larger() -> None:
    assert AwsAnswer("ListObjectsV2", {"Size": 5e12}).count("Size") == 5 * 10**12
