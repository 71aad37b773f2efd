"""One row as `preview` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.data_source import row_of
from vlm_runner.dataset import open_dataset
from vlm_runner.lint.one_row import rendered
from vlm_runner.models import find

from .test_dataset import NOVA, row, spec_of, write

if TYPE_CHECKING:
    from pathlib import Path

TURNS = {"user": "What is in the picture?", "assistant": "A {{ name }}."}


@pytest.mark.parametrize(
    ("prompt", "fields", "system"),
    [
        (TURNS | {"system": "Be short."}, {}, {"system": "Be short."}),
        (TURNS, {}, {}),
        (TURNS | {"system": "{{ name.missing.more }}"}, {}, {"system": None}),
        (TURNS, {"name": ""}, {}),
    ],
    ids=["as it is sent", "none", "one that cannot be rendered", "none beside a part that is empty"],
)
def test_a_system_prompt_is_shown_if_the_spec_has_one(
    tmp_path: Path, prompt: dict[str, str], fields: dict[str, Any], system: dict[str, str | None]
) -> None:
    spec = spec_of(write(tmp_path, [row(0, name="cat") | fields]), prompt=prompt)
    first, subset = row_of(open_dataset(spec.dataset), 0, validation=False)

    shown = rendered(first, subset, spec, find(NOVA))

    assert {key: value for key, value in shown.items() if key == "system"} == system
    assert shown["tokens"]["image"] > 0
