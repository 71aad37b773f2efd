"""What a spec leaves open is settled before a run exists, and stays what it was for older specs."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_runner.models import find
from vlm_runner.models.settle import serving_reason, settled
from vlm_runner.testing.world import tiny_spec

NOVA = "amazon.nova-lite-v1:0:300k"
LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
AUTO = {"mode": "auto"}
BEFORE_AUTO = "505f829ff25b2a57c96f137d23481c734e1214ea7435e1f32b341b514aa7ab32"
"""Of `tiny_spec` as commit 3afe368 computed it, where "provisioned" was the default."""


@pytest.mark.parametrize(
    ("base", "serving", "mode", "why"),
    [
        (NOVA, {"mode": "auto"}, "on-demand", "nothing while idle"),
        (NOVA, {"mode": "auto", "model_units": 2}, "provisioned", "model_units = 2"),
        (NOVA, {"mode": "provisioned"}, "provisioned", "as the spec says"),
        (NOVA, {"mode": "none"}, "none", "as the spec says"),
        (LLAMA, {"mode": "auto"}, "provisioned", "cannot be served on demand"),
    ],
)
def test_auto_is_the_cheapest_way_that_works(base: str, serving: dict[str, Any], mode: str, why: str) -> None:
    spec = tiny_spec(model={"base": base}, serving=serving)

    assert settled(spec, find(base)).serving.mode.value == mode
    assert why in serving_reason(spec, find(base))


def test_what_is_billed_never_depends_on_a_default_of_awss() -> None:
    given = tiny_spec(
        training={"role_arn": tiny_spec().training.role_arn, "hyperparameters": {"epochCount": 3}}
    )

    sent = settled(given, find(NOVA)).training.hyperparameters

    assert sent == {"epochCount": "3", "learningRate": "0.00001", "learningRateWarmupSteps": "10"}
    assert settled(tiny_spec(), find(LLAMA)).training.hyperparameters["epochCount"] == "5"


def test_a_spec_has_the_fingerprint_that_older_versions_gave_it() -> None:
    left_open = tiny_spec(serving=AUTO)

    assert left_open.fingerprint == BEFORE_AUTO
    assert tiny_spec().former_fingerprint == BEFORE_AUTO
    assert tiny_spec().fingerprint != BEFORE_AUTO
    assert left_open.former_fingerprint is None


def test_a_spec_that_names_the_former_default_of_concurrency_is_the_same() -> None:
    four = tiny_spec(serving=AUTO, test={"rows": 1, "concurrency": 4})
    eight = tiny_spec(serving=AUTO, test={"rows": 1, "concurrency": 8})

    assert four.fingerprint == BEFORE_AUTO
    assert eight.fingerprint != BEFORE_AUTO
