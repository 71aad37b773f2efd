"""A misspelt key of a spec is answered with the one that was meant."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_runner.errors import ConfigurationError
from vlm_runner.spec import RunSpec

ROLE = "arn:aws:iam::123456789012:role/bedrock-sft"
SOUND: dict[str, Any] = {
    "dataset": {"source": "tiny"},
    "prompt": {"user": "{{ a }}", "assistant": "{{ b }}"},
    "model": {"base": "amazon.nova-lite-v1:0:300k"},
    "training": {"role_arn": ROLE},
}


@pytest.mark.parametrize(
    ("section", "key", "told"),
    [
        ("training", {"hyperparameter": {}}, "no such field (did you mean hyperparameters?)"),
        ("serving", {"mod": "none"}, "serving.mod: no such field (did you mean mode?)"),
        ("serving", {"dead_man_switch": {"role": ROLE}}, "role: no such field (did you mean role_arn?)"),
        ("test", {"zzzz": 1}, "test.zzzz: no such field."),
        ("tests", {"rows": 1}, "tests: no such field (did you mean test?)"),
    ],
)  # fmt: skip
def test_the_nearest_key_is_named(section: str, key: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        RunSpec.from_table(SOUND | {section: SOUND.get(section, {}) | key})

    assert told in str(error.value)
