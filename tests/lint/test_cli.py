from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from vlm_runner.cli import cli
from vlm_runner.errors import UsageError

from .pictures import png
from .records import BAD, KEY, LLAMA, NOVA, good, line
from .sarif_schema import SARIF
from .test_dataset import SPEC, row, write

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["lint", *words])


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    source = write(tmp_path / "data", [row(number) for number in range(9)] + [row(9, html="User: a")])
    file.write_text(SPEC.format(source=json.dumps(str(source))))
    return file


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    file = tmp_path / "train.jsonl"
    file.write_bytes(
        b"\n".join([*[line(good(number)) for number in range(8)], *[bad for bad, _ in BAD.values()]])
    )
    picture = tmp_path / "copy" / KEY
    picture.parent.mkdir(parents=True)
    picture.write_bytes(png())
    return file


def test_errors_end_with_3_and_are_shown_with_rule_and_fix(spec: Path) -> None:
    result = run(str(spec))

    assert result.exit_code == 3
    assert "T220" in result.stdout
    assert "train, row 9, user" in result.stdout
    assert "why: " in result.stdout
    assert "fix: " in result.stdout


def test_json_is_the_whole_report(spec: Path) -> None:
    report: dict[str, Any] = json.loads(run(str(spec), "--json").stdout)

    finding = next(each for each in report["findings"] if each["code"] == "T220")
    assert {"code", "severity", "row", "field", "message", "why", "fix", "subset"} <= finding.keys()
    assert (finding["row"], finding["severity"]) == (9, "error")
    assert report["counts"]["error"] == 1
    assert report["census"]["train"]["rows"] == 10


def test_fix_says_what_it_wrote_and_then_it_is_well(spec: Path) -> None:
    result = run(str(spec), "--fix")

    assert result.exit_code == 0
    assert "strip" in result.stderr
    assert 'strip = ["User:"]' in spec.read_text()
    assert run(str(spec)).exit_code == 0


def test_a_jsonl_file_is_linted_with_a_folder_of_its_images(jsonl: Path, tmp_path: Path) -> None:
    report = json.loads(run(str(jsonl), "--model", NOVA, "--images", str(tmp_path / "copy"), "--json").stdout)

    codes = {finding["code"] for finding in report["findings"]}
    assert "J348" not in codes
    assert report["census"]["train"]["rows"] == 8 + len(BAD)
    assert report["census"]["train"]["image_bytes"] > 0


def test_a_jsonl_file_needs_a_model(jsonl: Path) -> None:
    assert isinstance(run(str(jsonl)).exception, UsageError)


@pytest.mark.parametrize("kind", ["spec", "jsonl"])
def test_sarif_fits_its_schema(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source = str(request.getfixturevalue(kind))
    out = tmp_path / "out.sarif"
    model = ["--model", NOVA] if kind == "jsonl" else []

    run(source, *model, "--sarif", str(out))
    log = json.loads(out.read_text())

    jsonschema.validate(log, SARIF, cls=jsonschema.Draft7Validator)
    results = log["runs"][0]["results"]
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert results
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in results)


def test_sarif_shows_the_line_of_a_jsonl_file(jsonl: Path) -> None:
    log = json.loads(run(str(jsonl), "--model", NOVA, "--sarif", "-").stdout)

    result = next(each for each in log["runs"][0]["results"] if each["ruleId"] == "J303")
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 9
    assert result["properties"]["row"] == 8
    assert all(
        ("row" in each["properties"]) == ("region" in each["locations"][0]["physicalLocation"])
        for each in log["runs"][0]["results"]
    )


def test_the_model_says_what_is_allowed(jsonl: Path) -> None:
    codes = json.loads(run(str(jsonl), "--model", LLAMA, "--json").stdout)["findings"]

    assert "D401" in {finding["code"] for finding in codes}


def test_local_lint_imports_nothing_of_aws(spec: Path) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from vlm_runner.cli import cli;"
        f"r = CliRunner().invoke(cli, ['lint', {str(spec)!r}]); assert r.exit_code == 3, r.output;"
        "print([m for m in sys.modules if m.split('.')[0] in {'botocore', 'aioboto3', 'aiobotocore', 'boto3'}])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "[]", done.stderr
