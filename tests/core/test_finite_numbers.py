"""A spec's numbers can be written to a checkpoint."""

from __future__ import annotations

import pytest

from vlm_runner.errors import ConfigurationError
from vlm_runner.spec import RunSpec

from .test_misspelt_keys import SOUND


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_that_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match=r"budget\.max_cost"):
        RunSpec.from_table(SOUND | {"budget": {"max_cost": value}})
