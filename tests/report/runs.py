"""Runs as a report meets them, without AWS."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

from vlm_runner.core.events import (
    DatasetFacts,
    EndpointReady,
    Entry,
    Event,
    ImagesStaged,
    JobCompleted,
    JobSubmitted,
    RecordsWritten,
    Released,
    ReportWritten,
    RunCreated,
    ServingRequested,
    SubsetStaged,
    TestsAnswered,
)
from vlm_runner.core.intents import intend_job, intend_serving
from vlm_runner.core.transitions import fold
from vlm_runner.evaluate import AnsweredRow, ModelAnswer
from vlm_runner.evaluate.thumbnail import budget, thumbnail
from vlm_runner.models import find
from vlm_runner.report.assemble import RunReport, assemble
from vlm_runner.report.collect import Curve, JobOutput, JudgedFile, ReportInputs
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from vlm_runner.core.run import Run

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"

HOSTILE = """</pre></main><script>document.title='owned';fetch('https://evil.example/')</script>
<img src=x onerror="document.title='owned'"><svg onload=alert(1)>{{ 7*7 }}"""


def spec(**sections: Any) -> RunSpec:
    return RunSpec.from_table(
        {
            "dataset": {"source": "somebody/pages"},
            "model": {"base": LLAMA},
            "training": {
                "role_arn": "arn:aws:iam::123456789012:role/bedrock-sft",
                "hyperparameters": {"epochCount": 2},
            },
            "test": {"rows": 5, "compare_base": True},
            "aws": {"region": "us-west-2"},
            "serving": {"mode": "provisioned"},
            **sections,
        }
    )


def history(
    *, held_out: bool = True, run_id: str = "pages-1", until: int = 99, **sections: Any
) -> list[Entry]:
    """A run that went well, an hour a phase; `until` cuts it off after so many entries."""
    wanted = spec(**sections)
    staged = SubsetStaged(
        rows=100,
        images_uploaded=90,
        images_passed_through=80,
        images_converted=10,
        shards_skipped=0,
        bytes_uploaded=12_000_000,
        rows_skipped=2,
        skipped_rows=("train row 3, field 'image': it is broken", HOSTILE),
    )
    created = RunCreated(
        run_id=run_id,
        uid="0" * 32,
        spec=wanted,
        spec_fingerprint=wanted.fingerprint,
        account="123456789012",
        region="us-west-2",
        bucket="bucket",
        dataset=DatasetFacts(fingerprint="f" * 64, rows=100, validation_rows=20 if held_out else None),
        version="0.1.0",
    )
    held = "s3://bucket/data/validation.jsonl" if held_out else None
    endpoint = "arn:aws:bedrock:us-west-2:123456789012:provisioned-model/abc"
    entries: list[Entry] = []

    def tell(event: Event) -> None:
        entries.append(Entry(sequence=len(entries) + 1, at=NOW + timedelta(hours=len(entries)), event=event))

    tell(created)
    tell(ImagesStaged(train=staged))
    tell(RecordsWritten(train_uri="s3://bucket/data/train.jsonl", train_records=98, validation_uri=held))
    tell(intend_job(fold(entries)))
    tell(JobSubmitted(arn="arn:aws:bedrock:us-west-2:123456789012:model-customization-job/x/jobjobjobjob"))
    tell(JobCompleted(model_arn="arn:aws:bedrock:us-west-2:123456789012:custom-model/x/y", training_loss=0.4))
    tell(intend_serving(fold(entries)))
    tell(ServingRequested(arn=endpoint))
    tell(EndpointReady())
    tell(TestsAnswered(uri="s3://bucket/runs/pages-1/answers.jsonl", asked=5, held_out=held_out))
    tell(Released(deleted=(endpoint,)))
    tell(ReportWritten(uri="s3://bucket/runs/pages-1/report.json"))
    return entries[:until]


def picture(number: int, side: int = 900) -> bytes:
    """Noise, which compresses worst."""
    image = Image.effect_noise((side, side), 80 + number % 40).convert("RGB")
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def answered(
    count: int, *, text: str = "", base: bool = True, knows: frozenset[int] = frozenset()
) -> tuple[AnsweredRow, ...]:
    """The base model answers as the reference does in the rows that it `knows`."""

    def said(number: int, finding: str) -> str:
        return (
            f"<thought>\nPage {number} hides its purpose. {text}\n</thought>\n"
            f"<solution>\n1. Items: {finding}\n   Reason: row {number}\n   Plan: mend it\n</solution>"
        )

    return tuple(
        AnsweredRow(
            row=number,
            image=f"s3://bucket/images/validation/{number:03d}.png",
            system="You judge pages.",
            prompt=f"Judge page {number}: {text}",
            reference=said(number, "WCAG 1.1.1"),
            tuned=ModelAnswer(
                answer=said(number, "WCAG 1.1.1" if number % 3 else "WCAG 2.4.4"),
                seconds=1.5,
                input_tokens=900,
            ),
            base=ModelAnswer(
                answer=said(number, "WCAG 1.1.1") if number in knows else f"It looks fine. {text}",
                seconds=0.9,
                input_tokens=900,
                output_tokens=9,
            )
            if base
            else None,
        )
        for number in range(count)
    )


@cache
def small(rows: int) -> str:
    made = thumbnail(picture(1), budget(rows))
    assert made is not None
    return base64.b64encode(made).decode()


def report(
    rows: int = 3,
    *,
    text: str = "",
    base: bool = True,
    knows: frozenset[int] = frozenset(),
    pictures: bool = True,
    **named: Any,
) -> RunReport:
    entries = history(**named)
    run: Run = fold(entries)
    material = ReportInputs(
        rows=answered(rows, text=text, base=base, knows=knows),
        thumbnails=dict.fromkeys(range(rows), (small(rows),)) if pictures and rows else {},
        output=JobOutput(
            training=Curve(tuple((float(step), 2 / (1 + step / 9)) for step in range(60)), (0.0, 30.0)),
            validation=Curve(((29.0, 0.9), (59.0, 0.6))),
            judged=(JudgedFile("train.jsonl", records=24, accepted=21, partly_accepted=1, rejected=2),),
        ),
    )
    return assemble(run, entries, material, find(LLAMA), entries[-1].at)
