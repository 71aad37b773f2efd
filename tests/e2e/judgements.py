"""What a sandbox's IAM judged, judged again by other policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.sandbox.policies import Question, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

Judgement = dict[str, Any]
"""A row of `GET /_sandbox/authorizations`."""


def question(judged: Judgement) -> Question:
    context = {key: tuple(values) for key, values in judged["context"].items()}
    return Question(judged["action"], judged["resource"], context)


def needless(statements: Sequence[Any], judgements: Sequence[Judgement]) -> list[Any]:
    """The statements without which everything would have been allowed too."""
    asked = [question(one) for one in judgements]
    return [each for each in statements if is_needless(each, statements, asked)]


def is_needless(left_out: Any, statements: Sequence[Any], asked: Sequence[Question]) -> bool:
    """Without this one of the statements, each question would have been answered alike: allowed."""
    document = {"Statement": [one for one in statements if one is not left_out]}
    return all(decide([document], each) == "allowed" for each in asked)
