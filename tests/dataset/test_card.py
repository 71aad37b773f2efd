"""The card of a local copy of a Hub dataset leads nowhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vlm_runner.dataset.local import describe_local
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.dataset.described import Description

OUTSIDE = "outside of its folder"


def folder(path: Path, card: str, name: str = "README.md") -> Path:
    copy = path / "copy"
    (copy / "part").mkdir(parents=True)
    (path / "others").mkdir()
    (path / "others" / "secret.jsonl").write_text('{"secret": "of another user"}\n')
    (copy / "part" / "a.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    (copy / name).write_text(f"---\n{card}\n---\n" if name == "README.md" else card)
    return copy


def described(path: Path) -> Description:
    return describe_local(path, None, path.parent / "cache", name=str(path))


CONFIG = "configs:\n- config_name: default\n  "


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize(
    "place",
    [
        "../others/secret.jsonl",
        "../others/*.jsonl",
        "part/../../others/secret.jsonl",
        "/etc/hostname",
        "~/secret.jsonl",
        "file:///etc/hostname",
        "http://127.0.0.1:9/rows.jsonl",
        "s3://bucket/rows.jsonl",
        "hf://datasets/a/b/rows.jsonl",
        "zip://rows.jsonl::part/rows.zip",
    ],
)
def test_a_card_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str, place: str) -> None:
    """By a path, or by an address, which would be asked."""
    path = folder(
        tmp_path, f"{CONFIG}data_files:\n  - split: train\n    path: ['part/a.jsonl', '{place}']", name
    )

    with pytest.raises(DataError, match=OUTSIDE):
        described(path)


@pytest.mark.parametrize(
    "said",
    ["data_dir: ../others", "data_dir: /etc", "data_files: ../others/*", "data_files: ['../others/*']"],
)
def test_a_card_in_its_short_forms_is_refused_as_well(tmp_path: Path, said: str) -> None:
    with pytest.raises(DataError, match=OUTSIDE):
        described(folder(tmp_path, CONFIG + said))


def test_what_a_sound_card_names_is_read(tmp_path: Path) -> None:
    path = folder(tmp_path, f"{CONFIG}data_files:\n  - split: train\n    path: part/a..jsonl\n")
    (path / "part" / "a.jsonl").rename(path / "part" / "a..jsonl")

    assert described(path).splits == {"train": ("part/a..jsonl",)}


@pytest.mark.timeout(30)
def test_a_card_of_few_lines_that_says_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    names = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))

    with pytest.raises(DataError, match="says more than"):
        described(folder(tmp_path, f"a0: &a0 [x, x]\n{names}\n{CONFIG}data_files: *a11"))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_a_card_that_is_no_file_of_the_folder_is_not_opened(tmp_path: Path, name: str) -> None:
    path = folder(tmp_path, "license: mit")
    (path / "README.md").unlink()
    os.mkfifo(path / name)

    with pytest.raises(DataError, match="cannot be a dataset's card"):
        described(path)
    (path / name).unlink()
    (path / name).symlink_to(tmp_path / "others" / "secret.jsonl")
    with pytest.raises(DataError, match="cannot be a dataset's card"):
        described(path)
