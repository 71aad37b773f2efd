"""A run in MLflow, by its own client (checked against 3.17): found again by a tag with the run's uid."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.redact import json_text
from vlm_runner.report.render import page
from vlm_runner.track.tracked_run import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.track.tracked_run import TrackedRun

UID: Final = "vlm_runner.uid"
SWEEP: Final = "vlm_runner.sweep"
STATUS: Final = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
BATCH_METRICS: Final = 1000
BATCH: Final = 100
"""Metrics, and params or tags, of one LogBatch request: MLflow refuses more."""


class MlflowTracker:
    """`uri` is a tracking server, as MLFLOW_TRACKING_URI; credentials are MLflow's own variables."""

    name = "MLflow"

    def __init__(self, uri: str, experiment: str) -> None:
        self._uri, self._experiment = uri, experiment
        self._made: Any = None
        self._experiment_id: str | None = None

    def log_run(self, run: TrackedRun) -> None:
        client, there = self._client(), self._found(run)
        key, now = there.info.run_id, int(run.updated.timestamp() * 1000)
        params = [(name, value) for name, value in run.params.items() if name not in there.data.params]
        tags = {f"vlm_runner.{name}": value for name, value in run.tags.items()}
        tags["mlflow.note.content"] = run.note
        if run.outcome is not None and run.answers:
            tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "answers.json", "type": "table"}])
        self._log(key, params, [each for each in tags.items() if there.data.tags.get(each[0]) != each[1]])
        self._log_metrics(key, self._new_metrics(run, there), now)
        if run.outcome is None:
            if there.info.status != "RUNNING":
                client.update_run(key, status="RUNNING")
            return
        with TemporaryDirectory(prefix="vlm-runner-") as folder:
            _write_artifacts(run, Path(folder))
            client.log_artifacts(key, folder)
        client.set_terminated(key, STATUS.get(run.outcome, "FINISHED"), now)

    def close(self) -> None:
        pass

    def _client(self) -> Any:
        if self._made is None:
            from mlflow import environment_variables  # noqa: PLC0415 - seconds, and only for who wants it
            from mlflow.tracking import MlflowClient  # noqa: PLC0415 - as above

            # It would print addresses to stdout, which has our result alone.
            quiet: Any = environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
            quiet.set(True)
            self._made = MlflowClient(tracking_uri=self._uri)
        return self._made

    def _experiment_key(self) -> str:
        if self._experiment_id is None:
            client = self._client()
            found = client.get_experiment_by_name(self._experiment)
            if found is None:
                with contextlib.suppress(Exception):  # another process may have created it meanwhile
                    client.create_experiment(self._experiment)
                found = client.get_experiment_by_name(self._experiment)
            if found is None:
                raise LookupError(f"experiment '{self._experiment}' could not be created")
            self._experiment_id = str(found.experiment_id)
        return self._experiment_id

    def _found(self, run: TrackedRun) -> Any:
        if (there := self._by_tag(UID, run.uid)) is not None:
            return there
        tags = {UID: run.uid, "mlflow.source.name": "vlm-runner", "mlflow.source.type": "JOB"}
        if run.group is not None:
            tags["mlflow.parentRunId"] = self._sweep(run)
        return self._create(run, run.run_id, tags)

    def _sweep(self, run: TrackedRun) -> str:
        """The run that holds those of a sweep, as MLflow nests them."""
        name = str(run.group)
        parent = self._by_tag(SWEEP, name)
        if parent is None:
            parent = self._create(run, name, {SWEEP: name, "mlflow.source.name": "vlm-runner"})
            self._client().set_terminated(parent.info.run_id)
        return str(parent.info.run_id)

    def _by_tag(self, tag: str, value: str) -> Any:
        text = value.replace("'", "")
        found = self._client().search_runs(
            [self._experiment_key()], f"tags.`{tag}` = '{text}'", max_results=1
        )
        return found[0] if found else None

    def _create(self, run: TrackedRun, name: str, tags: dict[str, str]) -> Any:
        began = int(run.began.timestamp() * 1000)
        return self._client().create_run(self._experiment_key(), start_time=began, tags=tags, run_name=name)

    def _new_metrics(self, run: TrackedRun, there: Any) -> Iterator[tuple[str, float, int]]:
        """What is not there yet: MLflow keeps every value that it is given."""
        for name, value in run.scores.items():
            if there.data.metrics.get(name) != value:
                yield name, value, 0
        for name, points in (("loss/training", run.training), ("loss/validation", run.validation)):
            if not points:
                continue
            known: set[int] = set()
            if name in there.data.metrics:
                known = {one.step for one in self._client().get_metric_history(there.info.run_id, name)}
            yield from ((name, loss, step) for step, loss in points if step not in known)

    def _log_metrics(self, key: str, found: Iterator[tuple[str, float, int]], now: int) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415 - as above

        metrics = [Metric(name, value, now, step) for name, value, step in found]
        for first in range(0, len(metrics), BATCH_METRICS):
            self._client().log_batch(key, metrics=metrics[first : first + BATCH_METRICS])

    def _log(self, key: str, params: list[tuple[str, str]], tags: list[tuple[str, str]]) -> None:
        from mlflow.entities import Param, RunTag  # noqa: PLC0415 - as above

        for first in range(0, max(len(params), len(tags)), BATCH):
            some = slice(first, first + BATCH)
            self._client().log_batch(
                key,
                params=[Param(*each) for each in params[some]],
                tags=[RunTag(*each) for each in tags[some]],
            )


def _write_artifacts(run: TrackedRun, folder: Path) -> None:
    """The table of answers has the form of `MlflowClient.log_table`, which needs pandas."""
    (folder / "report.html").write_bytes(page([run.report]).encode(errors="replace"))
    (folder / "report.json").write_text(json_text(run.report.facts, indent=2), encoding="utf-8")
    if not run.answers:
        return
    pictures = "table_images/answers"
    (folder / pictures).mkdir(parents=True)
    rows: list[list[Any]] = []
    for answer in run.answers:
        row: list[Any] = [*answer]
        if (webp := run.thumbnails.get(answer.row)) is not None:
            path = f"{pictures}/{answer.row}.webp"
            (folder / path).write_bytes(base64.b64decode(webp))
            row.append({"type": "image", "filepath": path, "compressed_filepath": path})
        else:
            row.append(None)
        rows.append(row)
    table = {"columns": [*Answer._fields, "image"], "data": rows}
    (folder / "answers.json").write_text(json_text(table), encoding="utf-8")
