"""What is deleted with a run, and what of it other runs use. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.core.places import objects_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.core.events import Place
    from vlm_runner.core.run import Run
    from vlm_runner.spec import ServingMode


@dataclass(frozen=True, slots=True)
class PlaceFate:
    """What becomes of one split's objects."""

    place: Place
    images_used_by: tuple[str, ...]
    """Ids of runs that use its images, and so its claim; empty: they are deleted."""
    records_used_by: tuple[str, ...]
    """The same of the record lines and the JSONL file; whoever uses them uses the images too."""


@dataclass(frozen=True, slots=True)
class RunDeletion:
    """What is deleted with a run; nothing while `in_use` says who uses it."""

    run: Run
    servings: tuple[Run, ...]
    """Runs that served its model and are done: they go with it."""
    endpoint: tuple[ServingMode, str] | None
    """Mode and ARN of one that was kept, and bills."""
    model_arn: str | None
    places: tuple[PlaceFate, ...]
    in_use: tuple[str, ...]
    """Why it cannot be deleted, each in a sentence."""


def plan_deletion(run: Run, others: Sequence[Run], unread: Sequence[str]) -> RunDeletion:
    """
    `others` are all other runs of the store; `unread` the ids of those that cannot be read, which may use
    whatever can be shared.
    """
    servings = tuple(one for one in others if _serves(one, run) and one.done)
    strangers = [one for one in others if one not in servings and one.bucket == run.bucket]
    in_use = [] if run.done else [f"Run {run.run_id} is not done: it is in phase {run.phase}."]
    in_use += [
        f"Run {one.run_id} serves its model: it is in phase {one.phase}."
        for one in others
        if _serves(one, run) and not one.done
    ]
    in_use += [
        f"Run {one.run_id} trains on from its model: it is in phase {one.phase}."
        for one in others
        if one.created.parent is not None and one.created.parent.uid == run.uid and not one.done
    ]
    in_use += [
        f"Run {one.run_id} keeps an endpoint of its model: {one.handed_over.arn}."
        for one in servings
        if one.may_bill and one.handed_over is not None
    ]
    kept = run.handed_over if run.may_bill else None
    return RunDeletion(
        run=run,
        servings=servings,
        endpoint=(run.serving_intent.mode, kept.arn) if kept is not None and run.serving_intent else None,
        model_arn=run.own_model.model_arn if run.own_model is not None else None,
        places=tuple(
            PlaceFate(
                place,
                tuple(sorted([one.run_id for one in strangers if objects_of(one).shares_images(place)]))
                + tuple(unread),
                tuple(sorted([one.run_id for one in strangers if objects_of(one).shares_records(place)]))
                + tuple(unread),
            )
            for place in dict.fromkeys(place for one in (run, *servings) for place in objects_of(one).places)
        ),
        in_use=tuple(in_use),
    )


def _serves(one: Run, run: Run) -> bool:
    return one.created.serves is not None and one.created.serves.uid == run.uid
