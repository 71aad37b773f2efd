"""What a verification leaves is taken away by commands that a person pastes."""

from __future__ import annotations

import shlex
from typing import get_args

import pytest

from vlm_runner.aws.leftovers import Kind, Leftover


@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_aws_answered_stays_one_word_of_the_command(kind: Kind) -> None:
    hostile = "https://sqs/queue; rm -rf ~"

    words = shlex.split(Leftover(kind, "vr-verify-1", hostile).command("us-east-1"))

    assert words[0] == "aws"
    assert words[-3:] == [hostile, "--region", "us-east-1"]
