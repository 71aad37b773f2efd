"""One clear sentence (what, where, what to do), the documented exit code, and nothing lost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vlm_runner.core.retry import ROLE_NOT_SEEN

from .laptop import LLAMA, Laptop, notebook_dataset, picture

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(laptop: Laptop) -> Laptop:
    """Nothing here gets far enough to leave a trace in it."""
    return laptop


def refusal(desk: Laptop, spec: Path, run_id: str = "cats", **environment: str) -> tuple[int, str]:
    done = desk.here("start", str(spec), "--yes", "--run-id", run_id, VLM_RUNNER_LOG="text", **environment)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_missing_column_is_named_with_those_there_are(desk: Laptop, pages: Path) -> None:
    spec = desk.spec(pages, dataset=f'source = "{pages}"\ncolumns = {{ html = "source_code" }}')

    code, said = refusal(desk, spec)

    assert code == 3
    assert "source_code" in said
    assert "image, html, outputs" in said


def test_a_missing_split_is_named_with_those_there_are(desk: Laptop, pages: Path) -> None:
    code, said = refusal(desk, desk.spec(pages, dataset=f'source = "{pages}"\nsplit = "training"'))

    assert code == 4
    assert "training" in said
    assert "train, validation" in said


def test_an_empty_split_is_refused(desk: Laptop, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    folder = notebook_dataset(tmp_path / "pages", rows=12)
    table = pq.read_table(folder / "validation.parquet")
    pq.write_table(table.slice(0, 0), folder / "validation.parquet")

    code, said = refusal(desk, desk.spec(folder))

    assert code == 3
    assert "validation" in said
    assert "empty" in said or "no rows" in said


def test_an_unreadable_image_names_its_row_and_ends_the_run(laptop: Laptop, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    folder = notebook_dataset(tmp_path / "pages", rows=12)
    table = pq.read_table(folder / "train.parquet")
    rows = table.to_pylist()
    rows[7]["image"]["bytes"] = picture(7)[:-40]
    pq.write_table(table.from_pylist(rows, schema=table.schema), folder / "train.parquet")

    done = laptop.here("start", str(laptop.spec(folder)), "--yes", "--no-lint", "--run-id", "cats")
    skipped = laptop.spec(
        folder, dataset=f'source = "{folder}"\nvalidation_split = "validation"\non_bad_row = "skip"'
    )
    passed = laptop.here("start", str(skipped), "--yes", "--run-id", "skipping", "--json")

    assert done.returncode == 3, done.stderr
    assert "train row 7, field 'image'" in done.stdout
    assert laptop.status("cats")["outcome"] == "failed"
    assert passed.returncode == 0, passed.stderr
    assert '"rows_skipped": 1' in passed.stdout
    assert "train row 7" in passed.stdout


def test_an_unknown_model_is_refused_with_those_that_are_known(desk: Laptop, pages: Path) -> None:
    code, said = refusal(desk, desk.spec(pages, model='base = "amazon.nova-light-v1:0:300k"'))

    assert code == 4
    assert "amazon.nova-lite-v1:0:300k" in said


def test_a_dead_model_is_refused_with_living_ones(desk: Laptop, tmp_path: Path) -> None:
    """
    Llama 3.2 is past its end of life on Bedrock since 2026-07-07.
    """
    folder = notebook_dataset(tmp_path / "pages", rows=100)
    spec = desk.spec(folder, model=f'base = "{LLAMA}"', aws='region = "us-west-2"')

    code, said = refusal(desk, spec)

    assert code == 4
    assert "2026-07-07" in said
    assert "amazon.nova-lite-v1:0:300k" in said


def test_no_region_is_refused_and_none_is_guessed(desk: Laptop, pages: Path) -> None:
    code, said = refusal(desk, desk.spec(pages, aws=""))

    assert code == 4
    assert "No AWS region" in said
    assert "us-east-1" in said


def test_a_wrong_region_is_refused_with_the_right_one(desk: Laptop, pages: Path) -> None:
    code, said = refusal(desk, desk.spec(pages, aws='region = "eu-central-1"'))

    assert code == 4
    assert "--region us-east-1" in said


def test_no_credentials_are_said_to_be_missing(desk: Laptop, pages: Path, tmp_path: Path) -> None:
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": str(tmp_path / "none")}
    nowhere |= {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}

    code, said = refusal(desk, desk.spec(pages), **nowhere)

    assert code == 4
    assert "credentials" in said
    assert "aws sts get-caller-identity" in said


def test_a_role_of_another_account_is_refused(desk: Laptop, pages: Path) -> None:
    spec = desk.spec(pages, training='role_arn = "arn:aws:iam::999999999999:role/other"')

    code, said = refusal(desk, spec)

    assert code == 4
    assert "999999999999" in said


def test_a_refused_role_keeps_the_run_resumable(
    laptop: Laptop, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A role that was just made is waited for; this one never comes.
    monkeypatch.setattr("vlm_runner.core.failure.ROLE_NOT_SEEN", replace(ROLE_NOT_SEEN, patience=0.0))
    spec = laptop.spec(pages, training='role_arn = "arn:aws:iam::123456789012:role/none"')

    refused = laptop.here("start", str(spec), "--yes", "--no-doctor", "--run-id", "cats")
    laptop.ask("scenario", {"require_roles": False})
    resumed = laptop.here("resume", "cats")

    assert refused.returncode == 5, refused.stderr
    assert "role" in refused.stderr
    assert "vlm-runner resume cats" in refused.stderr
    assert resumed.returncode == 0, resumed.stderr
    laptop.assert_paid_once_and_over()


@pytest.mark.parametrize(
    ("section", "lines", "named"),
    [
        ("training", 'role_arn = "me"', "training.role_arn"),
        ("serving", 'mode = "sometimes"', "serving.mode"),
        ("model", "", "model.base"),
        ("storage", 'prefix = "../elsewhere"', "storage.prefix"),
        ("dataset", 'source = "x"\nsplitt = "train"', "dataset.splitt"),
        ("training", 'role_arn = "arn:aws:iam::123456789012:role/r"\nhyperparameters = { epochCount = 99 }',
         "epochCount"),
    ],
)  # fmt: skip
def test_a_wrong_field_of_the_spec_is_named(
    desk: Laptop, pages: Path, section: str, lines: str, named: str
) -> None:
    code, said = refusal(desk, desk.spec(pages, **{section: lines}))

    assert code == 4
    assert named in said


def test_nobody_to_ask_means_nothing_is_spent(desk: Laptop, pages: Path) -> None:
    done = desk.here("start", str(desk.spec(pages)), "--run-id", "unasked")

    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert desk.here("status", "unasked").returncode == 102


def test_a_run_id_that_would_leave_the_store_is_refused(desk: Laptop, pages: Path) -> None:
    for run_id in ("../cats", "a/b", ".hidden", "a" * 97):
        done = desk.here("start", str(desk.spec(pages)), "--yes", "--run-id", run_id)
        assert done.returncode == 2, done.stderr


def test_a_damaged_checkpoint_is_said_to_be_and_left_as_it_is(desk: Laptop, pages: Path) -> None:
    state = desk.home / "store" / "runs" / "broken" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"schema": 1, "min_reader": 1, "run": ')

    done = desk.here("resume", "broken")

    assert done.returncode == 4
    assert str(state) in done.stderr
    assert state.read_text() == '{"schema": 1, "min_reader": 1, "run": '
    assert "UNREADABLE" in desk.here("list").stdout
