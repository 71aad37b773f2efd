"""What a run that does not exist yet would find, upload, create and cost. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vlm_runner.core import names
from vlm_runner.core.events import Entry
from vlm_runner.core.run import Run
from vlm_runner.errors import NotFound
from vlm_runner.ingest import shards
from vlm_runner.plan import Upload, estimate
from vlm_runner.spec import ServingMode
from vlm_runner.steps.prepare import lint_all, verified
from vlm_runner.steps.stage import other_content, transform_of

if TYPE_CHECKING:
    from vlm_runner.core.events import RunCreated
    from vlm_runner.dataset.rows import Subset
    from vlm_runner.lint import LintReport
    from vlm_runner.plan import Cost
    from vlm_runner.preflight import Problem
    from vlm_runner.steps.ports import Ports


@dataclass(frozen=True, slots=True)
class RunPreview:
    created: RunCreated
    """As it was given, with what lint has verified."""
    report: LintReport
    cost: Cost
    uploads: tuple[Upload, ...]
    resources: tuple[tuple[str, str, str], ...]
    conflict: Problem | None
    """Another dataset under the same keys, which the run would refuse to overwrite."""


async def preview_run(created: RunCreated, ports: Ports, *, like: RunCreated | None = None) -> RunPreview:
    """
    Look at the dataset and at what S3 holds of it already.

    `like` is a run on the same data, which is then neither opened nor linted again.
    """
    uid = created.uid if like is None else like.uid
    run = Run.begin(Entry(sequence=1, at=ports.clock.now(), event=created))
    profile = ports.catalogue.find(created.spec.model.base)
    pinned = partial(ports.open_dataset, created.spec, created.dataset.revision)
    opened = await ports.datasets.opened(uid, pinned)
    report = await ports.datasets.report(uid, partial(lint_all, opened, created.spec, profile, ports))
    subsets = [opened.train, *([opened.validation] if opened.validation is not None else [])]
    bucket_there, uploads, conflict = True, [], None
    for subset in subsets:
        try:
            there, other = await _there(run, subset, ports)
        except NotFound:
            bucket_there, there, other = False, 0, None
        conflict = conflict or other
        uploads.append(_upload(report, subset.name, subset.num_rows, there))
    validation = report.census[subsets[1].name] if len(subsets) > 1 else None
    cost = estimate(created.spec, profile, report.census[subsets[0].name], validation)
    return RunPreview(
        created=verified(created, report).model_copy(update={"planned": cost.facts}),
        report=report,
        cost=cost,
        uploads=tuple(uploads),
        resources=_resources(run, bucket_there=bucket_there),
        conflict=conflict,
    )


def _upload(report: LintReport, subset: str, rows: int, there: int) -> Upload:
    census = report.census[subset]
    size, share = census.image_bytes, there / rows if rows else 0.0
    return Upload(
        subset,
        rows,
        there,
        bytes=round(size * (1 - share)),
        bytes_there=round(size * share),
        images_per_row=census.images / census.usable if census.usable else 1.0,
    )


async def _there(run: Run, subset: Subset, ports: Ports) -> tuple[int, Problem | None]:
    """How many rows of `subset` are staged, and what else occupies its keys."""
    objects, prefix = ports.bucket_of(run), run.spec.storage.prefix
    fingerprint = transform_of(run, ports.catalogue.find(run.spec.model.base), subset.name).fingerprint
    folder = shards.marker_prefix(prefix, subset.name, fingerprint)
    plan = shards.plan(subset.num_rows)
    listed = [item async for item in objects.list(folder)]
    done = shards.read_markers(folder, listed, plan)
    rows = sum(plan[number].rows for number in done)
    return rows, await other_content(run, subset.name, ports)


def _resources(run: Run, *, bucket_there: bool) -> tuple[tuple[str, str, str], ...]:
    mode = run.spec.serving.mode
    found = [
        ("bucket", run.bucket, "reuse" if bucket_there else "create"),
        ("customization job", names.resource_name(run, "job"), "create"),
        ("custom model", names.resource_name(run, "model"), "create"),
    ]
    if mode is not ServingMode.NONE:
        kind: names.Kind = "throughput" if mode is ServingMode.PROVISIONED else "deployment"
        kept = run.spec.serving.keep is not False
        what = "provisioned throughput" if mode is ServingMode.PROVISIONED else "on-demand deployment"
        found.append((what, names.resource_name(run, kind), "create" if not kept else "keep"))
    return tuple(found)
