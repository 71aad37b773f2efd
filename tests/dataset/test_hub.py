"""
The real `datasets` and `huggingface_hub`, in processes of their own, against a Hub on this machine.

They read HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE once, when they are imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from .hub_server import Hub, Repo, serving
from .world import png, row, write_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = """
import json, sys
from hashlib import sha256
from vlm_runner.dataset import open_dataset
from vlm_runner.errors import VlmRunnerError
from vlm_runner.spec import DatasetSpec

def row(read):
    return [sha256(read.image).hexdigest(), read.fields]

def opened(settings, token=None, endpoint=None):
    try:
        found = open_dataset(DatasetSpec(**settings), token=token, endpoint=endpoint)
    except VlmRunnerError as error:
        return {"error": type(error).__name__, "said": str(error)}
    subsets = [found.train, found.validation] if found.validation else [found.train]
    return {
        "revision": found.revision,
        "fingerprint": found.fingerprint,
        "rows": {each.name: [row(r) for r in each.rows()] for each in subsets},
    }

asked = json.load(sys.stdin)
told = {name: opened(**call) for name, call in asked["calls"].items()}
if asked["plain"]:
    import datasets
    told["plain"] = {split: len(rows) for split, rows in datasets.load_dataset(asked["plain"]).items()}
print(json.dumps(told))
"""


def parquet(folder: Path, numbers: range) -> bytes:
    return write_parquet(folder / "made.parquet", [row(number) for number in numbers]).read_bytes()


def ask(
    home: Path, *, plain: str | None = None, env: dict[str, str], **calls: dict[str, Any]
) -> dict[str, Any]:
    """What `open_dataset` gives for each of `calls`, in a process that sees only `env`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        input=json.dumps({"calls": calls, "plain": plain}),
        env=kept | {"HF_HOME": str(home)} | env,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    made = tmp_path_factory.mktemp("hub")
    pages = {
        "README.md": b"# Pages\n",
        "data/train-00000-of-00001.parquet": parquet(made, range(5)),
        "data/validation-00000-of-00001.parquet": parquet(made, range(5, 8)),
    }
    repos = {
        "me/pages": pages,
        "me/secret": {"train.parquet": parquet(made, range(2))},
        "me/folder": {
            "train/0.png": png(0),
            "train/metadata.jsonl": b'{"file_name": "0.png", "html": "<p>", "output": ""}\n',
        },
        "me/pickled": {"train.pkl": b"cos\nsystem\n(S'exit 1'\ntR."},
        "me/text": {"train.txt": b"a row\n"},
        "me/script": {"script.py": b"raise SystemExit(1)", "train.parquet": parquet(made, range(2))},
        "me/gated": {"train.parquet": parquet(made, range(2))},
    }
    hub = Hub({name: Repo() for name in repos}, renamed={"us/sites": "me/pages", "me/lost": "me/nowhere"})
    for name, files in repos.items():
        hub.repos[name].commit(files)
    hub.repos["me/secret"].token = "hf_secret"
    hub.repos["me/gated"].token, hub.repos["me/gated"].gated = "hf_secret", True
    with serving(hub):
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def told(hub: Hub, home: Path) -> dict[str, Any]:
    """One process that finds the Hub by HF_ENDPOINT, before the branch moves."""
    return ask(
        home,
        plain="me/pages",
        env={"HF_ENDPOINT": hub.url},
        pages={"settings": {"source": "me/pages", "validation_split": "validation"}},
        renamed={"settings": {"source": "us/sites", "validation_split": "validation"}},
        renamed_and_gone={"settings": {"source": "me/lost"}},
        no_split={"settings": {"source": "me/pages", "split": "test"}},
        no_revision={"settings": {"source": "me/pages", "revision": "v9"}},
        private={"settings": {"source": "me/secret"}},
        private_with_token={"settings": {"source": "me/secret"}, "token": "hf_secret"},
        gated={"settings": {"source": "me/gated"}},
        unknown={"settings": {"source": "me/none"}},
        folder={"settings": {"source": "me/folder"}},
        pickled={"settings": {"source": "me/pickled"}},
        text={"settings": {"source": "me/text"}},
        script={"settings": {"source": "me/script"}},
    )


@pytest.fixture(scope="module")
def offline(hub: Hub, home: Path, told: dict[str, Any]) -> dict[str, Any]:
    """A process with HF_HUB_OFFLINE, on what `told` has downloaded."""
    commit = told["pages"]["revision"]
    return ask(
        home,
        env={"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"},
        branch={"settings": {"source": "me/pages", "revision": "main"}},
        cached={"settings": {"source": "me/pages", "revision": commit, "validation_split": "validation"}},
        other={"settings": {"source": "me/pages", "revision": "0" * 40}},
    )


@pytest.fixture(scope="module")
def later(
    hub: Hub, home: Path, told: dict[str, Any], offline: dict[str, Any], tmp_path_factory: Any
) -> dict[str, Any]:
    """A process that is told the Hub's address and token by argument, after the branch has moved."""
    before = told["pages"]["revision"]
    hub.repos["me/pages"].commit({"train.parquet": parquet(tmp_path_factory.mktemp("new"), range(50, 52))})
    return ask(
        home,
        env={},
        moved={"settings": {"source": "me/pages"}, "endpoint": hub.url},
        pinned={
            "settings": {"source": "me/pages", "revision": before, "validation_split": "validation"},
            "endpoint": hub.url,
        },
        private={"settings": {"source": "me/secret"}, "endpoint": hub.url, "token": "hf_secret"},
        nobody={"settings": {"source": "me/pages"}, "endpoint": "http://127.0.0.1:9"},
    )


def images(subset: list[list[Any]]) -> list[str]:
    return [each[0] for each in subset]


def digests(numbers: range) -> list[str]:
    return [hashlib.sha256(png(number)).hexdigest() for number in numbers]


def test_the_server_satisfies_the_real_load_dataset(told: dict[str, Any]) -> None:
    assert told["plain"] == {"train": 5, "validation": 3}


def test_rows_come_from_the_hub_byte_for_byte(hub: Hub, told: dict[str, Any]) -> None:
    pages = told["pages"]

    assert pages["revision"] in hub.repos["me/pages"].commits
    assert images(pages["rows"]["train"]) == digests(range(5))
    assert images(pages["rows"]["validation"]) == digests(range(5, 8))
    assert pages["rows"]["train"][3][1]["html"] == "<p>3</p>"
    assert pages["rows"]["train"][3][1]["output"][0]["eval_items"] == "1.1.1"


def test_a_dataset_is_found_under_the_name_that_it_had(hub: Hub, told: dict[str, Any]) -> None:
    assert told["renamed"] == told["pages"]
    assert "GET /api/datasets/us/sites" in hub.requests


def test_an_image_folder_on_the_hub(told: dict[str, Any]) -> None:
    assert images(told["folder"]["rows"]["train"]) == digests(range(1))


def test_a_private_dataset_needs_a_token(told: dict[str, Any], later: dict[str, Any]) -> None:
    assert told["private"]["error"] == "ConfigurationError"
    assert "HF_TOKEN" in told["private"]["said"]
    assert images(told["private_with_token"]["rows"]["train"]) == digests(range(2))
    assert images(later["private"]["rows"]["train"]) == digests(range(2))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        ("no_split", "ConfigurationError", "no split 'test'; it has train, validation"),
        ("no_revision", "ConfigurationError", "no revision 'v9'"),
        ("unknown", "ConfigurationError", "is not on the Hub"),
        ("renamed_and_gone", "ConfigurationError", "is not on the Hub"),
        ("gated", "ConfigurationError", "is gated"),
        ("pickled", "DataError", "cannot be read: No (supported) data files found"),
        ("text", "DataError", "in the format 'text', which is not read"),
        ("script", "DataError", "scripts are no longer supported"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(
    told: dict[str, Any], call: str, error: str, said: str
) -> None:
    assert told[call]["error"] == error
    assert said in told[call]["said"]
    assert "\n" not in told[call]["said"]


def test_a_moved_branch_is_another_revision(told: dict[str, Any], later: dict[str, Any]) -> None:
    assert later["moved"]["revision"] != told["pages"]["revision"]
    assert later["moved"]["fingerprint"] != told["pages"]["fingerprint"]
    assert images(later["moved"]["rows"]["train"]) == digests(range(50, 52))


def test_a_pinned_revision_is_what_it_was(told: dict[str, Any], later: dict[str, Any]) -> None:
    assert later["pinned"] == told["pages"]


def test_a_hub_out_of_reach_is_a_clear_error(later: dict[str, Any]) -> None:
    assert later["nobody"]["error"] == "SourceUnavailable"
    assert "Check the network" in later["nobody"]["said"]


def test_offline_a_commit_in_the_cache_is_read(told: dict[str, Any], offline: dict[str, Any]) -> None:
    assert offline["cached"] == told["pages"]


def test_offline_nothing_is_taken_for_what_it_may_not_be(offline: dict[str, Any]) -> None:
    assert "full commit" in offline["branch"]["said"]
    assert "another commit" in offline["other"]["said"]


def test_the_hub_was_asked_nothing_that_it_does_not_know(hub: Hub, later: dict[str, Any]) -> None:
    assert [line for line in hub.requests if line.startswith("UNKNOWN") and "datasets" in line] == []
