"""The commands: verify, sandbox check, iam --verify."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from click.testing import CliRunner

from tests.json_output.fitting import assert_fits
from vlm_runner.cli import cli
from vlm_runner.errors import AwsUnavailable, ConfigurationError, UsageError, VlmRunnerError

from .desk import ROLE, SWITCH_ROLE, running, without_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

SPEC = f"""
[dataset]
source = "nobody/nothing"
[model]
base = "amazon.nova-lite-v1:0:300k"
[training]
role_arn = "{ROLE}"
[aws]
region = "us-east-1"
"""
SWITCH = f'[serving.dead_man_switch]\nafter = "12h"\nrole_arn = "{SWITCH_ROLE}"\n'


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def url() -> Iterator[str]:
    for sandbox in running():
        yield sandbox.url


def run(*words: object) -> Result:
    texts = [str(word) for word in words]
    with without_tls(), mock.patch.dict(os.environ):
        result = CliRunner().invoke(cli, texts)
    if isinstance(result.exception, VlmRunnerError):
        raise result.exception
    assert_fits(texts, result.stdout)
    return result


def test_verify_says_beforehand_and_prints_the_table(spec: Path, url: str, tmp_path: Path) -> None:
    """
    What it does, costs and leaves is on stderr, the table on stdout; and what it recorded can be checked.
    """
    folder = tmp_path / "verified"

    done = run("verify", spec, "--folder", folder, "--endpoint-url", url)

    assert done.exit_code == 0, done.output
    assert "Level 0: reads" in done.stderr
    assert all(f"  {word} " in done.stderr for word in ("does", "costs", "leaves"))
    assert "Level 1" not in done.stderr
    assert "0.1   same       STS says who calls" in done.stdout
    assert "12 same, 0 different, 0 unknown" in done.stderr

    checked = run("sandbox", "check", folder / "recording.jsonl", "--json")

    assert checked.exit_code == 0, checked.output
    assert all(each["known"] for each in json.loads(checked.stdout))


@pytest.mark.parametrize("end", [AwsUnavailable("no answer"), KeyboardInterrupt()])
def test_one_that_ends_early_says_how_to_go_on(spec: Path, tmp_path: Path, end: BaseException) -> None:
    """
    The same command continues it, and another one takes away what it has created.
    """
    words = ["verify", str(spec), "--folder", str(tmp_path), "--endpoint-url", "http://127.0.0.1:9"]

    with mock.patch("vlm_runner.cli.verify.anyio.run", side_effect=end):
        said = CliRunner().invoke(cli, words).stderr

    assert f"vlm-runner verify {spec} --folder {tmp_path} --sweep" in said


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["--level", "2"], ConfigurationError, "needs a budget"),
        (["--level", "4", "--max-cost", "300"], ConfigurationError, "--rent-throughput"),
        (
            ["--level", "4", "--max-cost", "300", "--rent-throughput"],
            ConfigurationError,
            "dead man's switch",
        ),
        (["--level", "3", "--max-cost", "1"], UsageError, "--yes"),
    ],
)
def test_what_costs_is_not_begun_by_accident(
    words: list[str], error: type[VlmRunnerError], says: str, spec: Path
) -> None:
    """
    Without a budget, without the flag that rents, without a switch, without a word: nothing is asked.
    """
    with pytest.raises(error) as refused:
        run("verify", spec, *words)

    assert says in str(refused.value)


def test_the_price_of_the_throughput_is_said(spec: Path) -> None:
    """
    Level 4 names what a model unit costs in an hour.
    """
    spec.write_text(SPEC + SWITCH)
    words = ["verify", str(spec), "--level", "4", "--max-cost", "300", "--rent-throughput"]

    said = CliRunner().invoke(cli, words).stderr

    assert "$108.15 per hour" in said


def test_iam_prints_what_a_verification_needs(spec: Path) -> None:
    """
    In addition to the run's policies, by --verify; the queue's rights only where there is a switch.
    """
    (without,) = json.loads(run("iam", spec, "--verify").stdout).values()
    spec.write_text(SPEC + SWITCH)
    with_switch = json.loads(run("iam", spec, "--verify").stdout)
    only = json.loads(run("iam", spec, "--only", "verify_switch_policy").stdout)

    assert "sqs:CreateQueue" not in json.dumps(without)
    assert "sqs:CreateQueue" in json.dumps(with_switch["verify_policy"])
    assert only == with_switch["verify_switch_policy"]
    assert "verify_policy" not in json.loads(run("iam", spec).stdout)
