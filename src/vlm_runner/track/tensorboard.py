"""A run as TensorBoard's files, in a folder of its own, which is written anew each time."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.track.tracked_run import TrackedRun

MOST_IMAGES: Final = 16


class TensorBoardTracker:
    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def log_run(self, run: TrackedRun) -> None:
        from tensorboardX import SummaryWriter  # noqa: PLC0415 - only for who wants it

        folder = self._folder / (run.group or "") / f"{run.run_id}-{run.uid[:8]}"
        before = {*folder.glob("events.out.tfevents.*")} if folder.exists() else set()
        at = run.updated.timestamp()
        with SummaryWriter(str(folder)) as writer:
            mine = {*folder.glob("events.out.tfevents.*")} - before
            for name, points in (("loss/training", run.training), ("loss/validation", run.validation)):
                for step, loss in points:
                    writer.add_scalar(name, loss, step, walltime=at)
            for name, value in run.scores.items():
                writer.add_scalar(name, value, 0, walltime=at)
            writer.add_text("run", _run_text(run), 0, walltime=at)
            if run.outcome is not None:
                _add_answers(run, writer, at)
        # Only now: a log that fails leaves what was there.
        for old in before if mine else ():
            old.unlink(missing_ok=True)

    def close(self) -> None:
        pass


def _run_text(run: TrackedRun) -> str:
    rows = [f"| {name} | {value} |" for name, value in (*run.tags.items(), *run.params.items())]
    return "\n".join([run.note, "", "| | |", "|---|---|", *(row.replace("\n", " ") for row in rows)])


def _add_answers(run: TrackedRun, writer: Any, at: float) -> None:
    import numpy as np  # noqa: PLC0415 - as above
    from PIL import Image  # noqa: PLC0415 - as above

    for answer in run.answers[:MOST_IMAGES]:
        texts = (("Tuned", answer.tuned), ("Base", answer.base), ("Reference", answer.reference))
        shown = "\n\n".join(f"**{name}**\n\n{text}" for name, text in texts if text)
        writer.add_text(f"answers/row {answer.row}", shown, 0, walltime=at)
        if (webp := run.thumbnails.get(answer.row)) is not None:
            with Image.open(io.BytesIO(base64.b64decode(webp)), formats=("WEBP",)) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            writer.add_image(f"answers/row {answer.row}", pixels, 0, walltime=at, dataformats="HWC")
