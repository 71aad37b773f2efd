from __future__ import annotations

import importlib
import json
import os
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from click.testing import CliRunner, Result

from tests.cli.terminal import at_terminal
from tests.histories import happy_runs
from vlm_runner.checkpoint.document import Checkpoint, to_bytes
from vlm_runner.cli import cli
from vlm_runner.core.names import TAG_UID
from vlm_runner.errors import ConfigurationError, DataError, UsageError
from vlm_runner.sample import sample_folder
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.sandbox.catalogue import find_model
from vlm_runner.sandbox.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vlm_runner.core.run import Run

NOVA = "amazon.nova-lite-v1:0:300k"
SPEC = """\
[dataset]
source = "{source}"
validation_split = "validation"
[model]
base = "{base}"
[training]
role_arn = "arn:aws:iam::123456789012:role/bedrock-sft"
hyperparameters = {{ epochCount = 2 }}
[serving]
mode = "provisioned"
[aws]
region = "us-east-1"
"""
PRICES = f"""
[models."{NOVA}".prices]
training_per_million_tokens = 2.0
throughput_per_unit_hour = 100.0
storage_per_month = 1.95
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(
        SandboxOptions(as_of=datetime(2026, 11, 22, tzinfo=UTC), speed=3600, model_units=2)
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "VLM_RUNNER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(SPEC.format(source=sample_folder(), base=NOVA))
    return file


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prices.toml").write_text(PRICES)
    monkeypatch.setenv("VLM_RUNNER_CATALOGUE", str(tmp_path / "prices.toml"))


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_a_plan_without_aws_shows_data_and_prices(spec: Path, prices: None) -> None:
    result = run("plan", spec, "--offline", "--json")

    plan = json.loads(result.stdout)
    cost = plan["cost"]
    assert result.exit_code == 0, result.output
    assert cost["tokens_trained"] == 2 * cost["tokens"] > 0
    assert cost["training"] == pytest.approx(cost["tokens_trained"] * 2.0 / 1e6)
    assert cost["per_month_if_forgotten"] == 72_000
    assert cost["unknown"] == []
    assert "prices.toml" in cost["prices_from"]
    origins = {origin["name"]: origin["origin"] for origin in plan["settings"]}
    assert origins["catalogue"] == "environment"
    assert origins["model.base"] == "file"
    assert origins["serving.keep"] == "default"


def test_a_flag_is_named_as_the_origin(spec: Path) -> None:
    plan = json.loads(run("plan", spec, "--offline", "--json", "--region", "us-east-1").stdout)

    origins = {origin["name"]: origin["origin"] for origin in plan["settings"]}
    assert origins["region"] == "flag"


def test_a_plan_says_what_is_unknown_and_never_guesses(spec: Path) -> None:
    result = run("plan", spec, "--offline")

    assert result.exit_code == 0
    assert "unknown" in result.stdout
    assert "training_per_million_tokens" in result.stdout


def test_a_plan_asks_aws_and_changes_nothing(
    sandbox: Sandbox, spec: Path, tmp_path: Path, prices: None
) -> None:
    spec.write_text(spec.read_text().replace("bedrock-sft", "none"))
    sandbox.calls.clear()

    result = run("plan", spec, "--json", "--endpoint-url", sandbox.url, "--store", tmp_path / "runs")

    plan = json.loads(result.stdout)
    actions = {each["kind"]: each["action"] for each in plan["resources"]}
    assert actions == {
        "bucket": "create", "customization job": "create", "custom model": "create", "provisioned throughput": "create",
    }  # fmt: skip
    assert [upload["objects"] for upload in plan["uploads"]] == [20, 5]
    assert {check["code"] for check in plan["doctor"] if check["status"] == "bad"} == {"C06"}
    assert result.exit_code == 4
    operations = sandbox.calls.as_json()["counts"]
    assert not [name for name in operations if name.startswith(("Create", "Put", "Delete"))]
    assert not list((tmp_path / "runs").rglob("*.json"))


def test_a_limit_that_is_too_low_is_a_refusal_in_the_plan(spec: Path, prices: None) -> None:
    spec.write_text(spec.read_text() + "[budget]\nmax_cost = 1.0\n")

    result = run("plan", spec, "--offline")

    assert result.exit_code == 4
    assert "REFUSED: The run needs up to $" in result.stdout


def test_start_asks_nobody_and_starts_nothing_without_yes(
    sandbox: Sandbox, spec: Path, tmp_path: Path
) -> None:
    result = run("start", spec, "--endpoint-url", sandbox.url, "--store", tmp_path / "runs", "-q")

    assert isinstance(result.exception, UsageError)
    assert "max_cost" in str(result.exception)


def test_start_needs_no_yes_where_max_cost_holds(
    sandbox: Sandbox, spec: Path, tmp_path: Path, prices: None
) -> None:
    spec.write_text(spec.read_text() + "[budget]\nmax_cost = 500.0\n[test]\nrows = 1\n")

    result = run(
        "start",
        spec,
        "--endpoint-url",
        sandbox.url,
        "--store",
        tmp_path / "runs",
        "-q",
        "--json",
        "--timeout",
        "1s",
    )

    assert json.loads(result.stdout)["spec"]["budget"]["max_cost"] == 500.0
    assert result.exit_code in {0, 101}, result.output


def test_start_refuses_max_cost_without_prices(sandbox: Sandbox, spec: Path, tmp_path: Path) -> None:
    spec.write_text(spec.read_text() + "[budget]\nmax_cost = 500.0\n")
    no = {"operation": "GetProducts", "kind": "error", "code": "AccessDeniedException", "status": 400}
    sandbox.faults.add([no | {"times": None}])

    try:
        result = run("start", spec, "--yes", "--endpoint-url", sandbox.url, "--store", tmp_path / "runs")
    finally:
        sandbox.faults.clear()

    assert isinstance(result.exception, ConfigurationError)
    assert "training_per_million_tokens" in str(result.exception)
    assert "vlm-runner prices" in str(result.exception)


def test_start_creates_nothing_where_lint_has_errors(sandbox: Sandbox, spec: Path, tmp_path: Path) -> None:
    spec.write_text(spec.read_text() + '[prompt]\nuser = "User: {{ html }}"\nassistant = "{{ page }}"\n')

    result = run("start", spec, "--yes", "--endpoint-url", sandbox.url, "--store", tmp_path / "runs", "-q")

    assert isinstance(result.exception, DataError)
    assert "T220" in str(result.exception)
    assert not list((tmp_path / "runs").rglob("state.json"))


def test_start_creates_nothing_where_the_role_does_not_exist(
    sandbox: Sandbox, spec: Path, tmp_path: Path
) -> None:
    spec.write_text(spec.read_text().replace("bedrock-sft", "none"))
    sandbox.calls.clear()

    result = run("start", spec, "--yes", "--endpoint-url", sandbox.url, "--store", tmp_path / "runs", "-q")

    assert isinstance(result.exception, ConfigurationError)
    assert "there is no role none (C06)" in str(result.exception)
    assert f"vlm-runner iam {spec} --only role_trust" in str(result.exception)
    counts = sandbox.calls.as_json()["counts"]
    assert not [name for name in counts if name.startswith(("Create", "Put"))]
    assert not list((tmp_path / "runs").rglob("state.json"))


def test_start_asks_iam_nothing_with_no_doctor(sandbox: Sandbox, spec: Path, tmp_path: Path) -> None:
    spec.write_text(spec.read_text().replace("bedrock-sft", "none"))
    sandbox.calls.clear()
    words = ("--yes", "--no-lint", "--no-doctor", "--timeout", "0s", "-q")

    result = run("start", spec, *words, "--endpoint-url", sandbox.url, "--store", tmp_path / "runs")

    assert result.exit_code == 101, result.output
    assert "GetRole" not in sandbox.calls.as_json()["counts"]


@pytest.mark.parametrize(
    ("words", "readable", "refused", "told"),
    [
        (
            (),
            True,
            True,
            "aws service-quotas request-service-quota-increase --service-code bedrock --quota-code L-",
        ),
        (("--no-doctor",), True, False, ""),
        ((), False, False, "could not be read; in many accounts it is 0"),
    ],
)
def test_start_refuses_a_throughput_that_the_account_has_no_units_for(
    sandbox: Sandbox,
    spec: Path,
    tmp_path: Path,
    *,
    words: tuple[str, ...],
    readable: bool,
    refused: bool,
    told: str,
) -> None:
    """Before anything is created; unless it is told otherwise, or the quotas cannot be read, which it says."""
    sandbox.state.change_scenario({"no_commitment_units": 0})
    sandbox.calls.clear()
    for operation in () if readable else ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
        no = {"operation": operation, "kind": "error", "code": "AccessDeniedException", "status": 400}
        sandbox.faults.add([no | {"times": None}])
    where = ("--endpoint-url", sandbox.url, "--store", tmp_path / "runs", "--timeout", "0s", "-q")

    try:
        result = run("start", spec, "--yes", *words, *where)
    finally:
        sandbox.faults.clear()
        sandbox.state.change_scenario({"no_commitment_units": 2})

    assert isinstance(result.exception, ConfigurationError) == refused
    assert refused or result.exit_code == 101
    assert told in f"{result.output} {result.exception}"
    created = [name for name in sandbox.calls.as_json()["counts"] if name.startswith(("Create", "Put"))]
    assert not (refused and created)
    assert refused != any((tmp_path / "runs").rglob("state.json"))


@pytest.mark.parametrize("words", [(), ("--no-lint", "--no-doctor")])
def test_start_creates_no_run_where_the_keys_under_its_prefix_hold_other_content(
    sandbox: Sandbox, spec: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    spec.write_text(spec.read_text() + '[storage]\nbucket = "other-{account}"\nprefix = "team"\n')
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=sandbox.url)
    s3.create_bucket(Bucket="other-123456789012")
    claim = json.dumps({"fingerprint": "of another", "run_id": "dogs"}).encode()
    s3.put_object(Bucket="other-123456789012", Key="team/data/train/content.json", Body=claim)
    where = ("--endpoint-url", sandbox.url, "--store", tmp_path / "runs")

    result = run("start", spec, "--yes", "-q", *words, *where)

    assert isinstance(result.exception, ConfigurationError)
    assert "(of run dogs)" in str(result.exception)
    assert "prefix = " in str(result.exception)
    assert not list((tmp_path / "runs").rglob("state.json"))


@pytest.mark.parametrize("why", ["the keys hold other content", "no such role", "max_cost"])
def test_what_is_refused_is_not_asked_about(
    sandbox: Sandbox, spec: Path, tmp_path: Path, prices: None, why: str
) -> None:
    """A yes would make a run that cannot go on."""
    text = spec.read_text()
    match why:
        case "the keys hold other content":
            s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=sandbox.url)
            s3.create_bucket(Bucket="asked-123456789012")
            claim = json.dumps({"fingerprint": "of another", "run_id": "dogs"}).encode()
            s3.put_object(Bucket="asked-123456789012", Key="team/data/train/content.json", Body=claim)
            text += '[storage]\nbucket = "asked-{account}"\nprefix = "team"\n'
        case "no such role":
            text = text.replace("role/", "role/no-such-")
        case _:
            text += "[budget]\nmax_cost = 1.0\n"
    spec.write_text(text)
    where = ("--endpoint-url", sandbox.url, "--store", str(tmp_path / "runs"))

    screen = at_terminal("start", str(spec), *where, answer="y\n")

    assert screen.code not in {0, 1}
    assert "[y/N]" not in screen.text
    assert not list((tmp_path / "runs").rglob("state.json"))


def test_preview_shows_one_row_as_it_is_learned(spec: Path, tmp_path: Path) -> None:
    result = run("preview", spec, "--row", 3, "--json", "--image", tmp_path / "page.png")

    shown = json.loads(result.stdout)
    assert (shown["subset"], shown["row"]) == ("train", 3)
    assert "<solution>" in shown["assistant"]
    assert shown["tokens"]["image"] > 0
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_preview_as_text_saves_the_image_where_there_is_no_terminal(spec: Path) -> None:
    result = run("preview", spec, "--validation")

    assert "── user" in result.stdout
    assert spec.with_name("validation-000.png").exists()


def test_preview_saves_every_image_of_a_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sample = pq.read_table(sample_folder() / "train.parquet").to_pylist()
    images = [row["image"] for row in sample]
    rows = [row | {"images": images[: 1 + number]} for number, row in enumerate(sample)]
    for row in rows:
        del row["image"]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "train.parquet")
    spec = tmp_path / "run.toml"
    spec.write_text(
        f'[dataset]\nsource = "{tmp_path / "data"}"\n[prompt]\npreset = "accessibility-regions"\n'
        f'[model]\nbase = "{NOVA}"\n[training]\nrole_arn = "arn:aws:iam::123456789012:role/bedrock-sft"\n'
    )

    one, three = (json.loads(run("preview", spec, "--row", row, "--json").stdout) for row in (0, 2))

    assert [path.rpartition("/")[2] for path in three["images"]] == [
        "train-002.png",
        "train-002-1.png",
        "train-002-2.png",
    ]
    assert [(tmp_path / f"train-002{end}.png").read_bytes() for end in ("", "-1", "-2")] == [
        image["bytes"] for image in images[:3]
    ]
    assert "the 2 others show regions" in three["user"]
    assert three["tokens"]["image"] > 2 * one["tokens"]["image"]


def test_a_terminal_with_colour_is_shown_the_image_and_nothing_is_saved(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("vlm_runner.cli.preview")  # its name in the package is the command's
    monkeypatch.setattr(module, "shows_pictures", lambda: True)

    result = run("preview", spec, "--row", 1)

    assert result.stdout.count("▀") > 64
    assert list(spec.parent.glob("*.png")) == []


def test_preview_of_a_row_that_there_is_not_says_how_many_there_are(spec: Path) -> None:
    assert "has 20" in str(run("preview", spec, "--row", 20).exception)


def test_an_image_is_drawn_in_cells() -> None:
    import io

    from PIL import Image

    from vlm_runner.cli.preview import blocks

    out = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 90, 20)).save(out, "PNG")

    drawn = blocks(out.getvalue())

    assert len(drawn.splitlines()) == 24
    assert drawn.count("▀") == 24 * 64


def test_the_plan_says_that_held_out_rows_are_not_sent(spec: Path) -> None:
    spec.write_text(spec.read_text().replace(NOVA, "amazon.nova-2-lite-v1:0:256k"))

    result = run("plan", spec, "--offline")

    assert "the 5 held-out rows are not sent to Bedrock" in result.stdout


def test_prices_are_those_of_the_price_list_and_can_be_written_for_the_next_plan(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.toml"
    written = run("prices", NOVA, "--endpoint-url", sandbox.url, "--write", own)
    monkeypatch.setenv("VLM_RUNNER_CATALOGUE", str(own))
    read = run("prices", NOVA, "--offline", "--json")

    (model,) = json.loads(read.stdout)
    assert written.exit_code == read.exit_code == 0, written.output + read.output
    assert {price["source"] for price in model["prices"]} == {str(own)}
    assert run("prices", NOVA, "--offline").stdout.count(str(own)) == 1
    usd = {price["name"]: price["usd"] for price in model["prices"]}
    assert (usd["training_per_million_tokens"], usd["throughput_per_unit_hour"]) == (2.0, 108.15)


def billed_run(sandbox: Sandbox, store: Path) -> Run:
    """A run that is over, in `store`; its account was billed 5 dollars for calls of the tuned model."""
    run, history = happy_runs(uid=uuid.uuid4().hex, sections={"model": {"base": NOVA}})[-1]
    path = store / "runs" / run.run_id / "state.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(to_bytes(Checkpoint(write_id="w", holder=None, run=run, history=history)))
    price = sandbox.state.prices.of(find_model(NOVA, "us-east-1")[0])[0].custom_input_per_million
    now = sandbox.state.now()
    for uid in (run.uid, "of another"):
        entry = Entry(
            "on_demand_invocations", uid, uid, "us-east-1", now, find_model(NOVA, "us-east-1")[0], str
        )
        entry.custom, entry.tags = True, {TAG_UID: uid}
        entry.input_tokens = round(5e6 / (price or 1.0))
        sandbox.state.ledger.open(entry)
    return run


@pytest.mark.parametrize(
    ("terminal", "refusal"), [(False, "AWS charges one cent"), (True, "Nothing was asked")]
)
def test_the_cost_of_a_run_is_not_asked_for_without_consent(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, refusal: str
) -> None:
    run_of = billed_run(sandbox, tmp_path)
    monkeypatch.setattr("vlm_runner.cli.console.at_terminal", lambda: terminal)
    sandbox.calls.clear()
    words = ["cost", run_of.run_id, "--store", str(tmp_path), "--endpoint-url", sandbox.url]

    result = CliRunner().invoke(cli, words, input="n\n")

    assert isinstance(result.exception, UsageError)
    assert refusal in str(result.exception)
    assert "GetCostAndUsage" not in sandbox.calls.as_json()["counts"]


def test_the_cost_of_a_run_is_what_cost_explorer_has_under_its_tag(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, and of no other run; asked once the person at the terminal has said yes."""
    run_of = billed_run(sandbox, tmp_path)
    page = {"Keys": ["USE1-Train"], "Metrics": {"UnblendedCost": {"Amount": "1.5", "Unit": "USD"}}}
    first = {"ResultsByTime": [{"Groups": [page]}], "NextPageToken": "next"}
    monkeypatch.setattr("vlm_runner.cli.console.at_terminal", lambda: True)
    sandbox.faults.add({"operation": "GetCostAndUsage", "kind": "replaced", "body": json.dumps(first)})
    words = ["cost", run_of.run_id, "--store", str(tmp_path), "--endpoint-url", sandbox.url]

    text = CliRunner().invoke(cli, words, input="y\n")
    shown = json.loads(run(*words, "--yes", "--json").stdout)

    assert text.exit_code == 0, text.output
    assert "Billed: $6.50" in text.stdout
    assert "Estimated so far: $" in text.stdout
    assert [line["usd"] for line in shown["lines"]] == [pytest.approx(5.0, abs=0.01)]
    assert shown["billed_usd"] == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            {"kind": "replaced", "body": '{"ResultsByTime": []}'},
            "If the tag is not active: aws ce update-cost",
        ),
        ({"kind": "error", "code": "AccessDeniedException", "status": 400}, "GetCostAndUsage"),
        (
            {
                "kind": "replaced",
                "body": '{"ResultsByTime": [{"Groups": [{"Keys": ["x"], "Metrics": '
                '{"UnblendedCost": {"Amount": "1", "Unit": "EUR"}}}]}]}',
            },
            "EUR",
        ),
    ],
)
def test_a_cost_that_cannot_be_had_says_why(
    sandbox: Sandbox, tmp_path: Path, fault: dict[str, Any], told: str
) -> None:
    run_of = billed_run(sandbox, tmp_path)
    sandbox.faults.add({"operation": "GetCostAndUsage", "times": None, **fault})

    try:
        result = run("cost", run_of.run_id, "--yes", "--store", tmp_path, "--endpoint-url", sandbox.url)
    finally:
        sandbox.faults.clear()

    assert told in f"{result.output} {result.exception}"
