"""A spec's numbers can be written to a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_runner.errors import ConfigurationError
from vlm_runner.spec import RunSpec

from .test_misspelt_keys import SOUND


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize(("section", "key"), [("budget", "max_cost")])
def test_a_number_that_json_cannot_hold_is_refused(section: str, key: str, value: float) -> None:
    table: dict[str, Any] = {section: SOUND.get(section, {}) | {key: value}}
    with pytest.raises(ConfigurationError, match=f"{section}.{key}"):
        RunSpec.from_table(SOUND | table)
