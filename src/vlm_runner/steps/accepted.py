"""TESTING: answers that are as right as a row's reference, which staging has left beside the shards."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from vlm_runner.ingest import shards
from vlm_runner.prompts.templates import compile_prompt
from vlm_runner.steps.places import place_of
from vlm_runner.steps.stage import train_subset, validation_subset

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.run import Run
    from vlm_runner.steps.ports import Ports
    from vlm_runner.steps.questions import Question


async def with_accepted(
    questions: list[Question], run: Run, objects: Objects, ports: Ports, *, held_out: bool
) -> list[Question]:
    """`questions`, each with the answers that are as right; where there are none to read, as they were."""
    subset = validation_subset(run) if held_out else train_subset(run)
    if not compile_prompt(run.spec.prompt, run.spec.dataset.columns).several_answers:
        return questions
    folder = place_of(run, subset, ports).shards
    rows = run.dataset.validation_rows if held_out else run.dataset.rows
    plan = shards.plan(rows or 0)
    done = shards.read_markers(folder, [item async for item in objects.list(folder)], plan)
    found, first = {each.row: each for each in questions}, 0
    for shard in plan:
        records = done[shard.number].records if shard.number in done else 0
        here = [row for row in range(first, first + records) if row in found]
        stored = await objects.get(shards.accepted_key(folder, shard)) if here else None
        if stored is not None:
            listed = _lists(stored.body)
            for row in here:
                found[row] = replace(found[row], accepted=listed.get(row - first, ()))
        first += records
    return [found[each.row] for each in questions]


def _lists(body: bytes) -> dict[int, tuple[str, ...]]:
    """By a record's number in its shard; others may have written to the bucket."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return {
        number: tuple(text for text in texts if isinstance(text, str))
        for number, texts in enumerate(read if isinstance(read, list) else [])
        if isinstance(texts, list)
    }
