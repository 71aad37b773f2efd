"""What a run that does not exist yet would find, upload, create and cost. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vlm_runner.core import names, places
from vlm_runner.core.events import Entry, PlacesClaimed
from vlm_runner.core.run import Run
from vlm_runner.errors import NotFound
from vlm_runner.ingest import shards, stored
from vlm_runner.plan import Upload, estimate
from vlm_runner.preflight import Problem
from vlm_runner.spec import ServingMode
from vlm_runner.steps.downloads import downloads_signalled
from vlm_runner.steps.places import place_of, settle
from vlm_runner.steps.prepare import lint_all, verified

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.events import Place, RunCreated
    from vlm_runner.dataset.rows import Opened, Subset
    from vlm_runner.lint import LintReport
    from vlm_runner.plan import Cost
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
    opened, report = await lint_run(created, ports, uid=uid)
    subsets = [opened.train, *([opened.validation] if opened.validation is not None else [])]
    found = await _where(run, opened, ports)
    placed = run.model_copy(update={"places": found}) if isinstance(found, PlacesClaimed) else run
    uploads = []
    for subset in subsets:
        place = place_of(placed, subset.name, ports)
        there = 0 if found is None else await _rows_there(ports.bucket_of(run), place, subset.num_rows)
        uploads.append(_upload(report, subset, there, place))
    validation = report.census[subsets[1].name] if len(subsets) > 1 else None
    cost = estimate(created.spec, profile, report.census[subsets[0].name], validation)
    return RunPreview(
        created=verified(created, report).model_copy(update={"planned": cost.facts}),
        report=report,
        cost=cost,
        uploads=tuple(uploads),
        resources=_resources(run, bucket_there=found is not None),
        conflict=found if isinstance(found, Problem) else None,
    )


async def lint_run(created: RunCreated, ports: Ports, *, uid: str) -> tuple[Opened, LintReport]:
    """The dataset of a run that does not exist yet, kept by `uid`, and what lint says about it."""
    profile = ports.catalogue.find(created.spec.model.base)
    pinned = partial(ports.open_dataset, created.spec, created.dataset.revision)
    with downloads_signalled(ports):
        opened = await ports.datasets.opened(uid, pinned)
        report = await ports.datasets.report(uid, partial(lint_all, opened, created.spec, profile, ports))
    return opened, report


def _upload(report: LintReport, subset: Subset, there: int, place: Place) -> Upload:
    census, rows = report.census[subset.name], subset.num_rows
    size, share = census.image_bytes - census.in_place_bytes, there / rows if rows else 0.0
    return Upload(
        subset.name,
        rows,
        there,
        bytes=round(size * (1 - share)),
        bytes_there=round(size * share),
        images=place.images,
        records=place.records,
        images_per_row=(census.images - census.in_place) / census.usable if census.usable else 1.0,
    )


async def _where(run: Run, opened: Opened, ports: Ports) -> PlacesClaimed | Problem | None:
    """Where the run would put its images and records, as things are now; None where there is no bucket."""
    try:
        return await settle(run, opened, ports, claim=False)
    except NotFound:
        return None


async def _rows_there(objects: Objects, place: Place, rows: int) -> int:
    """How many rows have their images in S3: of this prompt, or of another on the same images."""
    plan = shards.plan(rows)
    listed = [item async for item in objects.list(place.shards)]
    done = shards.read_markers(place.shards, listed, plan)
    there = sum(plan[number].rows for number in done)
    marked = {item.key async for item in objects.list(places.images_markers(place))}
    for shard in plan:
        if shard.number not in done and stored.key_of(place, shard.start) in marked:
            found = await stored.read_stored(objects, place, shard.start)
            there += sum(bool(row.images) for number, row in found.items() if number < shard.stop)
    return there


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
