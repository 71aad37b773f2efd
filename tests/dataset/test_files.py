from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vlm_runner.dataset.fingerprint import MISSING, FileDigests, digest_of_rows
from vlm_runner.dataset.local import describe_file, describe_local, split_of
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

OLD = 1_000_000_000


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-00000-of-00001", "train"),
        ("data/validation-00000-of-00001", "validation"),
        ("val/rows", "validation"),
        ("dev", "validation"),
        ("test_rows", "test"),
        ("rows.training", "train"),
        ("trains", None),
        ("contest", None),
        ("train/test", "test"),
    ],
)
def test_names_tell_the_split(path: str, split: str | None) -> None:
    assert split_of(path) == split


@pytest.mark.parametrize(
    ("word", "split"),
    [
        (word, split)
        for split, words in {
            "train": "train training",
            "validation": "validation valid val dev",
            "test": "test testing eval evaluation",
        }.items()
        for word in words.split()
    ],
)
def test_each_word_for_a_split_is_known(word: str, split: str) -> None:
    assert split_of(f"{word}-00000-of-00001") == split


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "PNG"])
def test_a_folder_of_images_may_hold_them_in_any_format(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"x")

    assert describe_local(tmp_path, None, tmp_path / "cache", name="pages").kind == "imagefolder"


@pytest.mark.parametrize(
    ("names", "kind", "splits"),
    [
        (["a.parquet", "b.parquet"], "parquet", {"train": 2}),
        (["train-0.parquet", "val-0.parquet", "README.md"], "parquet", {"train": 1, "validation": 1}),
        (["train.jsonl", "images/0.png", "settings.json"], "json", {"train": 1}),
        (["rows.json"], "json", {"train": 1}),
        (["train-0.jsonl.gz", "images/0.png"], "json", {"train": 1}),
        (["rows.tsv", "images/0.png"], "csv", {"train": 1}),
        (["train.csv.zst", "dev.csv.zst"], "csv", {"train": 1, "validation": 1}),
        (["shard-000.tar", "shard-001.tar"], "webdataset", {"train": 2}),
        ([".cache/x.csv", "rows.csv"], "csv", {"train": 1}),
        (["train/metadata.jsonl", "train/0.png", "train/test.png"], "imagefolder", {"train": 3}),
        (["0.png", "1.jpg"], "imagefolder", {"train": 2}),
    ],
)
def test_a_folder_is_read_for_what_it_holds(
    tmp_path: Path, names: list[str], kind: str, splits: dict[str, int]
) -> None:
    touch(tmp_path, *names)

    found = describe_local(tmp_path, None, tmp_path / "cache", name="pages")

    assert found.kind == kind
    assert {split: len(files) for split, files in found.splits.items()} == splits


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "holds no rows"),
        (["rows.pkl"], "holds no rows"),
        (["a.parquet", "b.jsonl"], "several formats: json, parquet"),
        (["train/0.png", "metadata.jsonl"], "metadata.jsonl in .* is in none of its splits"),
    ],
)
def test_a_folder_that_cannot_be_read_is_told_so(tmp_path: Path, names: list[str], said: str) -> None:
    touch(tmp_path, *names)

    with pytest.raises(DataError, match=said):
        describe_local(tmp_path, None, tmp_path / "cache", name="pages")


@pytest.mark.parametrize("name", ["rows.pkl", "rows.py", "rows.zip", "rows", "rows.gz"])
def test_only_plain_data_files_are_read(name: str) -> None:
    with pytest.raises(DataError, match="Unsupported dataset"):
        describe_file(name, None)


def test_digests_are_remembered_until_a_file_changes(tmp_path: Path) -> None:
    file, store = tmp_path / "a", tmp_path / "store" / "s.json"
    file.write_bytes(b"one")
    os.utime(file, (OLD, OLD))
    first = FileDigests(store).of([file])
    known = store.read_text()

    again = FileDigests(store).of([file])
    file.write_bytes(b"two")
    changed = FileDigests(store).of([file])

    assert again == first
    assert str(file) in known
    assert changed != first


def test_a_file_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    file, store = tmp_path / "a", tmp_path / "s.json"
    file.write_bytes(b"one")

    FileDigests(store).of([file])

    assert store.read_text() == "{}"


@pytest.mark.parametrize("text", ["", "[]", "{broken"])
def test_a_broken_memory_is_no_harm(tmp_path: Path, text: str) -> None:
    store = tmp_path / "s.json"
    store.write_text(text)

    assert FileDigests(store).of([tmp_path / "none"]) == {tmp_path / "none": MISSING}


def test_rows_have_digests_of_their_own() -> None:
    assert digest_of_rows(range(3)) == "0:3"
    assert digest_of_rows([0, 2]) != digest_of_rows([0, 3])
