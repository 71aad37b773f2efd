"""A run in Weights & Biases, by its own client (checked against 0.31): its id there is the run's uid."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.report.render import page
from vlm_runner.track.tracked_run import Answer

if TYPE_CHECKING:
    from vlm_runner.track.tracked_run import TrackedRun

QUIET: Final = {
    "silent": True,
    "host": "vlm-runner",  # not this machine's name
    "console": "off",
    # What W&B would collect by itself: command line, host, repository, code. None of it is asked for here.
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class WandbTracker:
    """
    `project` is `PROJECT` or `ENTITY/PROJECT`. Key, host and mode are W&B's own variables: with
    WANDB_MODE=offline a folder is written, for `wandb sync`.
    """

    name = "Weights & Biases"

    def __init__(self, project: str) -> None:
        self._entity, _, self._project = project.rpartition("/")
        self._open: dict[str, Any] = {}

    def log_run(self, run: TrackedRun) -> None:
        there = self._open.get(run.uid) or self._begin(run)
        there.config.update(dict(run.params), allow_val_change=True)
        there.summary.update({**run.scores, **run.tags})
        steps: dict[int, dict[str, float]] = {}
        for name, points in (("loss/training", run.training), ("loss/validation", run.validation)):
            for step, loss in points:
                steps.setdefault(step, {})[name] = loss
        for step, losses in sorted(steps.items()):
            if step >= there.step:  # W&B's steps only grow: what is there already is passed over
                there.log(losses, step=step, commit=True)
        if run.outcome is not None:
            self._end(run, there)

    def close(self) -> None:
        """Runs that go on elsewhere, or later: W&B shows them as ended until they are logged again."""
        for uid in [*self._open]:
            self._open.pop(uid).finish()

    def _begin(self, run: TrackedRun) -> Any:
        import wandb  # noqa: PLC0415 - only for who wants it

        made = wandb.init(
            entity=self._entity or None,
            project=self._project,
            id=run.uid,
            name=run.run_id,
            group=run.group,
            notes=run.note,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(**QUIET),
        )
        self._open[run.uid] = made
        return made

    def _end(self, run: TrackedRun, there: Any) -> None:
        import wandb  # noqa: PLC0415 - as above

        there.notes = run.note
        html = page([run.report])
        if "report" not in there.summary.keys():  # noqa: SIM118 - it is no mapping
            shown: dict[str, Any] = {"report": wandb.Html(html, inject=False)}
            if run.answers:
                shown["answers"] = _table(run, wandb)
            there.log(shown)
        artifact = wandb.Artifact(f"report-{run.uid[:8]}", type="report")
        with artifact.new_file("report.html", mode="wb") as file:
            file.write(html.encode(errors="replace"))
        there.log_artifact(artifact)
        self._open.pop(run.uid)
        there.finish(exit_code=0 if run.outcome == "succeeded" else 1)


def _table(run: TrackedRun, wandb: Any) -> Any:
    from PIL import Image  # noqa: PLC0415 - as above

    table = wandb.Table(columns=[*Answer._fields, "image"])
    for answer in run.answers:
        webp = run.thumbnails.get(answer.row)
        picture = None if webp is None else Image.open(io.BytesIO(base64.b64decode(webp)), formats=("WEBP",))
        table.add_data(*answer, None if picture is None else wandb.Image(picture))
    return table
