"""Each tracker by its own client, into files: a run logged twice is the same as logged once."""

from __future__ import annotations

import json
import struct
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.runs import report
from vlm_runner.settings import TrackingSettings
from vlm_runner.track import open_trackers, tracked_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vlm_runner.track import TrackedRun, Tracker

# Each client is imported once a process: seconds of processor time, most of them MLflow's.
pytestmark = pytest.mark.xdist_group("trackers")


@pytest.fixture(scope="module")
def twice() -> tuple[TrackedRun, ...]:
    """A run whose job has ended; the same at its end; and once more, by who does not know of that."""
    ended = tracked_run(report(7))
    return tracked_run(report(0, until=6, run_id="pages-1")), ended, ended


def one(**settings: Any) -> Tracker:
    (tracker,) = open_trackers(TrackingSettings(**settings))
    return tracker


def test_mlflow_has_the_run_once_with_its_losses_report_and_answers(
    tmp_path: Path,
    twice: tuple[TrackedRun, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()

    states, found = [], []
    client: Any = MlflowClient(tracking_uri=uri)
    for run in twice:
        one(mlflow=uri, mlflow_experiment="pages").log_run(run)
        found = client.search_runs([client.get_experiment_by_name("pages").experiment_id])
        states.append([each.info.status for each in found])
    (there,) = found
    key = there.info.run_id
    table = json.loads((tmp_path / client.download_artifacts(key, "answers.json", tmp_path)).read_text())

    assert capsys.readouterr().out == ""
    assert states == [["RUNNING"], ["FINISHED"], ["FINISHED"]]
    assert there.data.params["dataset.fingerprint"] == "f" * 64
    assert there.data.tags["vlm_runner.model_arn"].endswith("custom-model/x/y")
    assert "Better than the base model" in there.data.tags["mlflow.note.content"]
    losses = client.get_metric_history(key, "loss/training")
    assert [metric.step for metric in losses] == [*range(60)]
    assert len(client.get_metric_history(key, "tuned/findings.f1")) == 1
    assert {each.path for each in client.list_artifacts(key)} == {
        "answers.json",
        "report.html",
        "report.json",
        "table_images",
    }
    picture = table["data"][0][table["columns"].index("image")]["filepath"]
    assert (tmp_path / client.download_artifacts(key, picture, tmp_path)).read_bytes()[8:12] == b"WEBP"
    assert json.loads(there.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "answers.json", "type": "table"}
    ]


def test_mlflow_nests_the_runs_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twice: tuple[TrackedRun, ...]
) -> None:
    from dataclasses import replace

    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    for uid in ("a", "b"):
        one(mlflow=uri).log_run(replace(twice[0], uid=uid, group="rates"))
    client: Any = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("vlm-runner").experiment_id])
    parents = [each.info.run_id for each in found if each.info.run_name == "rates"]

    assert len(parents) == 1
    assert [each.data.tags.get("mlflow.parentRunId") for each in found].count(parents[0]) == 2


def test_wandb_has_the_run_under_its_uid_and_nothing_of_this_machine(
    tmp_path: Path, twice: tuple[TrackedRun, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol: Any = import_module("wandb.proto.wandb_internal_pb2")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    tracker = one(wandb="team/pages")
    for run in twice[:2]:
        tracker.log_run(run)
    tracker.close()
    import_module("wandb").teardown()  # as at the end of the process: its service writes what it still holds
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records = []
    for body in leveldb_records(file.read_bytes()):
        record = protocol.Record()
        record.ParseFromString(body)
        records.append(record)
    history = [
        {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in r.history.item}
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]
    begun = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    configured = {update.key for record in records for update in record.config.update}

    assert (begun.run_id, begun.display_name, begun.project) == ("0" * 32, "pages-1", "pages")
    assert [row["loss/training"] for row in history[:60]] == [loss for _, loss in twice[1].training]
    assert [row["loss/validation"] for row in history if "loss/validation" in row] == [0.9, 0.6]
    assert history[60]["answers/nrows"] == 7
    assert history[60]["report/_type"] == "html-file"
    assert "dataset.fingerprint" in configured
    assert {record.artifact.type for record in records if record.HasField("artifact")} == {
        "report",
        "run_table",
    }
    assert not [record for record in records if record.exit.exit_code]
    assert begun.host == "vlm-runner"


def leveldb_records(data: bytes) -> Iterator[bytes]:
    """The log format of LevelDB after W&B's seven bytes: records in pieces, in blocks of 32 KiB."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in {1, 4}:
            yield whole
            whole = b""


def test_tensorboard_has_one_file_with_everything_once(tmp_path: Path, twice: tuple[TrackedRun, ...]) -> None:
    from tensorboardX.proto import event_pb2

    for run in twice:
        one(tensorboard=tmp_path).log_run(run)
    (file,) = tmp_path.glob("pages-1-00000000/events.out.tfevents.*")
    seen: dict[str, list[int]] = {}
    data = file.read_bytes()
    while data:  # TFRecord: length, its checksum, the event, its checksum
        (size,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event()
        event.ParseFromString(data[12 : 12 + size])
        data = data[16 + size :]
        for value in event.summary.value:
            seen.setdefault(value.tag, []).append(event.step)

    assert seen["loss/training"] == [*range(60)]
    assert seen["loss/validation"] == [29, 59]
    assert seen["tuned/findings.f1"] == [0]
    assert any(tag.startswith("answers/row") for tag in seen)
