"""Whether the tuned model is better, as it is told."""

from __future__ import annotations

import pytest

from vlm_runner.evaluate import AnsweredRow, ModelAnswer, evaluate, verdict


def asked(*pairs: tuple[str, str | None]) -> list[AnsweredRow]:
    """Rows whose reference is `abcd`, by what the tuned and the base model answered."""
    return [
        AnsweredRow(
            row=number,
            reference="abcd",
            tuned=ModelAnswer(answer=tuned),
            base=None if base is None else ModelAnswer(answer=base),
        )
        for number, (tuned, base) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("pairs", "kind", "said"),
    [
        ([("abcd", "wxyz")] * 6, "better", "similarity 0.00 -> 1.00, better by 1.00 (95 % between"),
        ([("wxyz", "abcd")] * 6, "worse", "similarity 1.00 -> 0.00, worse by 1.00 (95 % between"),
        ([("abcd", "wxyz"), ("wxyz", "abcd")] * 4, "within_noise", "similarity 0.50 -> 0.50, within noise"),
        ([("abcd", "abcd")] * 9, "within_noise", "between 0.00 and 0.00, 9 rows)"),
        ([("abcd", "wxyz")] * 5, "too_few_rows", "similarity 0.00 -> 1.00, 5 rows: too few to tell"),
        ([("abcd", None)], "not_compared", "similarity 1.00 (1 row); the base model was not compared"),
    ],
)
def test_a_difference_is_told_with_how_sure_it_is(
    pairs: list[tuple[str, str | None]], kind: str, said: str
) -> None:
    found = verdict(evaluate(asked(*pairs)))

    assert found is not None
    assert found.kind == kind
    assert said in found.sentence


def test_only_rows_that_both_answered_are_compared() -> None:
    rows = asked(*[("abcd", "abcd")] * 6, ("abcd", "wxyz"))
    refused = rows[-1].model_copy(update={"tuned": ModelAnswer(error="refused")})

    found = verdict(evaluate([*rows[:-1], refused]))

    assert found is not None
    assert found.change is not None
    assert (found.change.value, found.change.rows) == (0.0, 6)
    assert verdict(evaluate([refused])) is None
