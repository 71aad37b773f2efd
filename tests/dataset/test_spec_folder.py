"""A relative dataset.source begins at the spec file, wherever the command is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dataset.world import png
from vlm_runner.dataset.rows import Row
from vlm_runner.dataset.source import open_dataset
from vlm_runner.spec import RunSpec
from vlm_runner.sweep.plan import read_sweep

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """[dataset]
source = "{source}"
[model]
base = "amazon.nova-lite-v1:0:300k"
[training]
role_arn = "arn:aws:iam::123456789012:role/bedrock-sft"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a spec, a sweep, and data beside them; other data stand in the folder above."""
    folder = tmp_path / "project"
    for place, text in ((tmp_path, "above"), (folder, "beside")):
        (place / "data").mkdir(parents=True)
        (place / "data" / "train.csv").write_text(f"image,html,output\na.png,{text},y\n")
        (place / "data" / "a.png").write_bytes(png(1))
    (folder / "run.toml").write_text(SPEC.format(source="data"))
    (folder / "sweep.toml").write_text('spec = "run.toml"\n[grid]\n"dataset.max_rows" = [1, 2]\n')
    return folder


@pytest.mark.parametrize("called", ["", "..", "/"])
def test_the_data_beside_the_spec_are_read_from_anywhere(
    project: Path, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / called)

    spec = RunSpec.from_toml(project / "run.toml")
    runs = read_sweep(project / "sweep.toml").runs

    assert spec.dataset.source == "data"
    assert {spec.dataset.path, *(run.spec.dataset.path for run in runs)} == {project / "data"}
    opened = open_dataset(spec.dataset, cache_dir=project / "cache", required=())
    rows = [row.fields["html"] for row in opened.train.scan() if isinstance(row, Row)]
    assert rows == ["beside"]


def test_the_same_spec_is_the_same_run_from_anywhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else starting it from another folder would train and pay once more."""
    monkeypatch.chdir(project)
    named, bare = RunSpec.from_toml(project / "run.toml"), RunSpec.from_table({
        "dataset": {"source": "data"},
        "model": {"base": "amazon.nova-lite-v1:0:300k"},
        "training": {"role_arn": "arn:aws:iam::123456789012:role/bedrock-sft"},
    })  # fmt: skip

    assert named.dataset.folder == str(project)
    assert bare.dataset.folder is None
    assert (named.fingerprint, named.content) == (bare.fingerprint, bare.content)
    moved = project.rename(project.with_name("moved"))
    assert RunSpec.from_toml(moved / "run.toml").fingerprint == bare.fingerprint


def test_a_run_goes_on_where_the_folder_is_no_more_and_the_current_one_has_the_data(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = RunSpec.from_toml(project / "run.toml").model_dump(mode="json")
    moved = project.rename(project.with_name("moved"))
    monkeypatch.chdir(moved)

    assert RunSpec.from_table(saved).dataset.path == moved / "data"


@pytest.mark.parametrize(
    "source", ["data", "owner/name", "s3://bucket/data/", "x" * 5000, "~nobody-of-this-name/x"]
)
def test_what_does_not_lie_beside_the_spec_has_no_folder(source: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(SPEC.format(source=source))

    dataset = RunSpec.from_toml(tmp_path / "run.toml").dataset

    assert (dataset.folder, dataset.path) == (None, None)
