"""What staging of a row costs: its texts are rendered once, also where a row has several right answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.histories import begun
from vlm_runner.dataset.rows import Row
from vlm_runner.models import find
from vlm_runner.prompts.templates import Prompt
from vlm_runner.spec import RunSpec
from vlm_runner.steps.stage import transform_of

NOVA = "amazon.nova-lite-v1:0:300k"
FIELDS: dict[str, dict[str, Any]] = {
    "qa": {"question": "How many?", "answers": ["two", "2"]},
    "caption": {"caption": ["A cat.", "A grey cat."]},
}


@pytest.mark.parametrize("preset", FIELDS)
def test_a_row_with_several_answers_is_rendered_once(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec.from_table(
        {
            "dataset": {"source": "x"},
            "prompt": {"preset": preset},
            "model": {"base": NOVA},
            "training": {"role_arn": "arn:aws:iam::123456789012:role/bedrock-sft"},
        }
    )
    attempted: list[object] = []
    attempt = Prompt.attempt

    def counted(self: Prompt, *given: Any) -> Any:
        attempted.append(given)
        return attempt(self, *given)

    monkeypatch.setattr(Prompt, "attempt", counted)

    made = transform_of(begun(spec=spec), find(NOVA), "train").line(
        Row(0, 0, b"", None, FIELDS[preset]), "s3://b/0.png", "png"
    )

    assert len(attempted) == 1
    assert made.accepted == ("2" if preset == "qa" else "A grey cat.",)
