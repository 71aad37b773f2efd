"""A dataset reaches no file outside its folder, by whatever link."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from vlm_runner.dataset.fingerprint import MISSING, FileDigests
from vlm_runner.dataset.images import NoImageError, locate
from vlm_runner.dataset.local import refuse_links
from vlm_runner.dataset.storage import LocalStorage
from vlm_runner.errors import DataError
from vlm_runner.image_limits import MAX_SOURCE_BYTES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    (outside / "train.parquet").write_bytes(b"PAR1")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "own.png").write_bytes(b"own")
    return folder


def test_an_image_that_is_a_link_out_of_the_folder_is_a_bad_row(root: Path) -> None:
    (root / "image.png").symlink_to(root.parent / "outside" / "secret.png")
    (root / "folder").symlink_to(root.parent / "outside")
    (root / "loop.png").symlink_to(root / "loop.png")

    for path in ("image.png", "folder/secret.png", "folder/../own.png/../image.png"):
        with pytest.raises(NoImageError, match="link out of the dataset's folder") as caught:
            locate(path, root)
        assert caught.value.code == "I104"
    assert locate("loop.png", root) == root / "loop.png"


def test_links_within_the_folder_and_to_the_folder_are_followed(root: Path) -> None:
    (root / "alias.png").symlink_to("own.png")
    (root.parent / "elsewhere").symlink_to(root)

    assert locate("alias.png", root).read_bytes() == b"own"
    assert locate("alias.png", root.parent / "elsewhere").read_bytes() == b"own"


def test_a_snapshot_of_the_hubs_cache_is_made_of_links(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--a--b" / "snapshots" / "c0ffee"
    blobs = tmp_path / "datasets--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "hash").write_bytes(b"pixels")
    (snapshot / "page.png").symlink_to("../../blobs/hash")
    (tmp_path / "other").write_bytes(b"secret")
    (snapshot / "out.png").symlink_to(tmp_path / "other")

    assert locate("page.png", snapshot).read_bytes() == b"pixels"
    with pytest.raises(NoImageError, match="link out"):
        locate("out.png", snapshot)


def test_a_file_of_rows_that_is_a_link_out_of_the_folder_is_refused(root: Path) -> None:
    (root / "train.parquet").symlink_to(root.parent / "outside" / "train.parquet")

    with pytest.raises(DataError, match=r"train\.parquet is a link out"):
        refuse_links(root)


def test_a_saved_dataset_whose_arrow_file_is_a_link_out_of_the_folder_is_refused(root: Path) -> None:
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (root / "data.arrow").symlink_to(root.parent / "outside" / "train.parquet")

    with pytest.raises(DataError, match=r"data\.arrow is a link out"):
        refuse_links(root)


@pytest.mark.timeout(30)
def test_an_image_that_is_a_pipe_or_larger_than_any_image_is_not_read(root: Path) -> None:
    """A pipe is waited for until somebody writes into it; a sparse file takes no room on the disk."""
    os.mkfifo(root / "pipe.png")
    with (root / "sparse.png").open("wb") as file:
        file.truncate(MAX_SOURCE_BYTES + 1)
    digests = FileDigests(root.parent / "digests.json")
    storage = LocalStorage(root, digests)

    for path, code in (("pipe.png", "I103"), ("sparse.png", "I135")):
        with pytest.raises(NoImageError) as caught:
            storage.image(path)
        assert caught.value.code == code
    assert digests.of([root / "pipe.png"]) == {root / "pipe.png": MISSING}
    assert MAX_SOURCE_BYTES == 128 * 1024 * 1024
