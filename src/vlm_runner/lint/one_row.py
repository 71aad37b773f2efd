"""One row as the model will learn it, with its tokens and findings."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from vlm_runner.dataset.images import NoImageError
from vlm_runner.dataset.in_place import bytes_of, size_of
from vlm_runner.dataset.rows import Opened
from vlm_runner.ingest.images import ANY_SIZE, examine
from vlm_runner.ingest.inspect import ImageDefect
from vlm_runner.lint.dataset import lint_dataset
from vlm_runner.lint.tokens import text_tokens
from vlm_runner.prompts import compile_prompt

if TYPE_CHECKING:
    from vlm_runner.core.conversation import Turn
    from vlm_runner.dataset.rows import Row, Subset
    from vlm_runner.json_output import PreviewJson
    from vlm_runner.models import ModelProfile
    from vlm_runner.spec import RunSpec


def rendered(row: Row, subset: Subset, spec: RunSpec, profile: ModelProfile) -> PreviewJson:
    """The row as values: the record, its tokens, and what lint finds in it."""
    attempt = compile_prompt(spec.prompt, spec.dataset.columns).attempt(row.fields, len(row.images))
    alone = subset.chosen([row.index])
    report = lint_dataset(
        Opened(alone, None, None, alone.fingerprint), spec, profile, today=dt.datetime.now(dt.UTC).date()
    )
    texts = dict(attempt.texts)
    turns: tuple[Turn, ...] = ()
    accepted: tuple[str, ...] = ()
    if (made := attempt.rendered) is not None:
        turns = made.conversation.placed(len(row.images), image_first=profile.image_first).turns
        texts |= {"user": made.user, "assistant": made.assistant}
        accepted = made.accepted
    shown: PreviewJson = {
        "subset": subset.name,
        "row": row.index,
        "source_row": row.source_index,
        "user": texts.get("user"),
        "assistant": texts.get("assistant"),
        "turns": [
            {"role": turn.role, "text": turn.shown, "images": [number + 1 for number in turn.images]}
            for turn in turns
        ],
        "accepted": list(accepted),
        "tokens": {
            **{name: text_tokens(text) for name, text in attempt.texts},
            "image": image_tokens(row, profile),
            "limit": profile.tokens.per_record,
        },
        "image_bytes": sum(map(size_of, row.images)),
        "image_count": len(row.images),
        "images": [],
        # What the whole dataset has too few or too many of says nothing about a row.
        "findings": [
            {**finding.as_json(), "row": row.index} for finding in report.findings if finding.row is not None
        ],
    }
    # Without a system prompt there is no key `system`; a part that cannot be rendered is null.
    if "system" in texts or any(problem.part == "system" for problem in attempt.problems):
        shown["system"] = texts.get("system")
    return shown


def image_tokens(row: Row, profile: ModelProfile) -> int:
    """Of all images of the row that can be read, also where another one or a limit makes it unusable."""
    count = 0
    for image in row.images:
        try:
            facts = examine(bytes_of(image), ANY_SIZE, keep_format=True, fit=False).facts
        except (ImageDefect, NoImageError):
            continue
        count += profile.image_tokens(facts.width, facts.height)
    return count
