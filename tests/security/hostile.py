"""A store as a stranger could hand it over: each text, file and folder in it is meant to do harm."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from tests.histories import HAPPY, begun, entry, event_of
from vlm_runner.checkpoint.document import Checkpoint, to_bytes
from vlm_runner.checkpoint.integrity import canonical
from vlm_runner.core.events import Entry, Event
from vlm_runner.core.transitions import evolve, fold

if TYPE_CHECKING:
    from pathlib import Path


STEERING: Final = "\x1b]0;owned\x07\x1b[2J\x9b31m\x85\u202e\u2066\u2028\rEND"
MARKUP: Final = "</script><script>owned()</script><img src=x onerror=owned()>"
POISONS: Final = {
    "steering": STEERING,
    "path": "../../../owned",
    "forging": "\nFORGED  SUCCEEDED  nothing bills\nFORGED\n",
    "formula": "=cmd|' /C calc'!A0",
    "markup": MARKUP,
    "template": "{{ 7 * 7 }}{0.__class__}%s%n$(touch owned)`touch owned`;touch owned",
    "address": "http://evil.example:81/owned",
}
METRIC_MODULE: Final = "metrics_of_a_stranger"
METRICS: Final = (f"{METRIC_MODULE}:score", "timeit:timeit", "os:system")
CODE: Final = "open('owned-by-a-metric', 'w').write('owned')"
"""What `timeit:timeit` would run, were it called with a reference."""

ENDINGS: Final = {
    "done": HAPPY,
    "failed": (*HAPPY[:4], "job_submitted", "job_failed", "released", "report_written"),
    "kept": (*HAPPY[:10], "handed_over", "report_written"),
    "renting": HAPPY[:9],
    "training": HAPPY[:5],
    "staging": (),
}


def poisoned(value: Any, poison: str) -> Any:
    """`value` with `poison` in each text of it, and in each key whose name is free."""
    if isinstance(value, str):
        return value + poison
    if isinstance(value, dict):
        return {key: poisoned(inner, poison) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, poison) for inner in value]
    return value


def poisoned_event(event: Event, poison: str, kept: frozenset[str] = frozenset()) -> Event:
    """The event with `poison` wherever its model lets it stand, in fields that are yet to come too."""
    sound = event.model_dump(mode="json")
    table = poisoned(sound, poison) | {"unknown": poison}
    for name in kept & sound.keys():
        table[name] = sound[name]
    if "spec" in table:
        # Valid by their form, and yet addresses that nobody who looks may call.
        table["spec"]["events"] |= {"webhook": f"https://evil.example/{poison.split(maxsplit=1)[0]}"}
        table["spec"]["test"]["metrics"] = list(METRICS)
        table["spec"]["training"]["hyperparameters"] = {f"epochCount{poison}": poison, "epochCount": poison}
    for _ in range(20):
        try:
            return type(event).model_validate(table)
        except ValidationError as error:
            for one in error.errors():
                _restore(table, sound, one["loc"])
    raise AssertionError(f"{event.kind} takes no poison")


def _restore(table: Any, sound: Any, where: tuple[int | str, ...]) -> None:
    """Put back what was sound at this place, or at the last place above it that the sound value has too."""
    step, *rest = where
    inner = sound[step]
    further = bool(rest) and (rest[0] in inner if isinstance(inner, dict) else isinstance(inner, list))
    if further and isinstance(table[step], type(inner)):
        _restore(table[step], inner, tuple(rest))
    else:
        table[step] = copy.deepcopy(inner)


def hostile_checkpoint(run_id: str, kinds: tuple[str, ...], poison: str) -> Checkpoint:
    """A sound history of these kinds, each event poisoned; its bucket can be read."""
    reachable = frozenset({"uid", "bucket", "account", "region"}) if poison != STEERING else frozenset()
    kept = frozenset({"run_id"}) | reachable
    first = poisoned_event(begun(run_id=run_id).created, poison, kept)
    history = [Entry(sequence=1, at=datetime(2026, 11, 22, 12, tzinfo=UTC), event=first)]
    run = fold(history)
    for kind in kinds:
        new = entry(run, poisoned_event(event_of(kind, run), poison))
        history.append(new)
        run = evolve(run, new)
    halted = None if run.done else poison
    return Checkpoint(
        write_id="w" + poison, run=run, history=tuple(history), halted=halted, saved_at=history[-1].at
    )


def sealed(table: dict[str, Any]) -> bytes:
    """As this version signs it, whatever it holds."""
    text = canonical(table)
    return f'{text[:-1]},"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}\n'.encode()


def table_of(checkpoint: Checkpoint) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(to_bytes(checkpoint))
    del found["sha256"]
    return found


def other_times(run_id: str, at: str) -> bytes:
    """A run all of whose events happened at one time, such as one without a zone."""
    table = table_of(hostile_checkpoint(run_id, HAPPY, "x"))
    for one in table["history"]:
        one["at"] = at
    table["run"] |= {"created_at": at, "updated_at": at}
    table["saved_at"] = at
    return sealed(table)


def hostile_store(root: Path) -> dict[str, list[str]]:
    """
    Write the store; the runs by how they are hostile: `sound` can be read, `damaged` are there and cannot
    be read, `absent` are none.
    """
    runs, outside = root / "runs", root.parent / "outside"
    outside.mkdir(parents=True)
    runs.mkdir(parents=True)
    sound = []
    for name, poison in POISONS.items():
        for ending, kinds in ENDINGS.items():
            run_id = f"{name}-{ending}"
            _write(runs / run_id, to_bytes(hostile_checkpoint(run_id, kinds, poison)))
            sound.append(run_id)

    whole = to_bytes(hostile_checkpoint("whole", HAPPY, STEERING))
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "list": b"[]",
        "null": b"null",
        "text": json.dumps(STEERING).encode(),
        "bytes": bytes(range(256)) * 16,
        "deep": b"[" * 200_000,
        "deep-object": b'{"a":' * 200_000,
        "long-number": b'{"schema":' + b"9" * 5000 + b"}",
        "not-a-number": b'{"schema":1,"min_reader":1,"run":NaN}',
        "newer": sealed({"schema": 99, "min_reader": 99, "run": {}, "history": []}),
        "newer-text": sealed({"schema": STEERING, "min_reader": STEERING}),
        "hollow": sealed({"schema": 1, "min_reader": 1, "write_id": "w", "run": {}, "history": []}),
        "lists": sealed({"schema": 1, "min_reader": 1, "write_id": [], "run": [], "history": {}}),
        "another": to_bytes(hostile_checkpoint("../../owned", HAPPY, "x")),
        "renamed": to_bytes(hostile_checkpoint("steering-done-2", HAPPY, STEERING)),
        "no-zone": other_times("no-zone", "2026-11-22T12:00:00"),
        "unknown-field": _with_unknown_field(),
    }
    for name, body in damaged.items():
        _write(runs / name, body)
    for name, at in (("long-ago", "0001-01-01T00:00:00Z"), ("far-off", "9999-12-31T23:59:59Z")):
        _write(runs / name, other_times(name, at))
        sound.append(name)

    (outside / "secret.txt").write_text("the secret of another user\n")
    _write(outside / "run", whole)
    for name, target in (("link", outside / "secret.txt"), ("endless", "/dev/zero"), ("nowhere", "absent")):
        (runs / name).mkdir()
        (runs / name / "state.json").symlink_to(target)
    (runs / "linked-folder").symlink_to(outside / "run")
    (runs / "loop").symlink_to(runs / "loop")
    (runs / "folder" / "state.json").mkdir(parents=True)
    (runs / "pipe").mkdir()
    os.mkfifo(runs / "pipe" / "state.json")
    (runs / "huge").mkdir()
    with (runs / "huge" / "state.json").open("wb") as file:
        file.truncate(200 * 2**30)  # sparse: it takes no room on the disk
    for odd in (f"odd{STEERING}", "a b", "..owned", "-rf", "x" * 200, "$(touch owned)"):
        _write(runs / odd, whole)
    return {
        "sound": sound,
        "damaged": [*damaged, "link", "endless", "linked-folder", "folder", "pipe", "huge"],
        "absent": ["nowhere", "loop", "no-such-run"],
    }


def _with_unknown_field() -> bytes:
    table = table_of(hostile_checkpoint("unknown-field", (), "x"))
    table["run"]["created"]["spec"][STEERING] = STEERING
    table["history"][0]["event"]["spec"][STEERING] = STEERING
    return sealed(table)


def _write(folder: Path, body: bytes) -> None:
    folder.mkdir()
    (folder / "state.json").write_bytes(body)


def answers() -> bytes:
    """What the bucket of a stranger holds as `answers.jsonl`."""
    lines: list[Any] = [
        {
            "row": number,
            "image": f"s3://bucket/{poison}",
            "prompt": poison,
            "system": poison,
            "reference": CODE,
            "answer": f"<thought>{poison}</thought><solution>{poison}</solution>",
            "stop_reason": poison,
            "error": poison if number % 2 else None,
            "base": {"answer": poison},
        }
        for number, poison in enumerate(POISONS.values())
    ]
    lines.append(
        {"row": 97, "image": "s3://bucket/program.eps", "accepted": ["a"] * 1000, "answer": "b" * 99_999}
    )
    lines += [None, [], 5, "text", {"row": STEERING}, {"row": 1, "base": []}, {"row": 10**30}]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    return body + b"\n" + b"[" * 100_000 + b"\n\xff\xfe\n{\n"


OBJECTS: Final = {
    "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n",
    "answers.jsonl": answers(),
    "results.jsonl": b'[]\nnull\n{"row":0,"tuned":{"x":1e999,"\\u001b[2J":1}}\n' + b"[" * 100_000,
    "thumbnails.jsonl": b'null\n[]\n{"row":0,"webp":"AAAA\\" onerror=owned()"}\n{"row":1e999,"webp":"AAAA"}\n'
    b'{"row":1,"webp":"AAAA","more":5}\n' + b"[" * 100_000,
}
"""By the end of their keys."""
