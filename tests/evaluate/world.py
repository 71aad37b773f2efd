"""A world whose dataset has held-out rows, and whose models answer as a test says."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from vlm_runner.aws.ports import RuntimeReply
from vlm_runner.testing import World
from vlm_runner.testing.dataset import TinySubset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vlm_runner.dataset.rows import Row


@dataclass(frozen=True, slots=True)
class _Opened:
    train: TinySubset
    validation: TinySubset | None
    revision: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Several(TinySubset):
    images: tuple[bytes, ...] = ()

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        first, *more = self.images
        for row in TinySubset.rows(self, start, stop):
            yield replace(row, image=first, more=tuple((body, None) for body in more))


class HeldOut:
    """Eight rows to learn from, and some to be asked about."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.images: list[bytes] = []
        """Of every row, instead of its own one."""

    def __call__(self, spec: Any, revision: str | None) -> Any:
        columns = ("image", "page", "output")
        kind = partial(_Several, images=tuple(self.images)) if self.images else TinySubset
        train = kind("train", 8, "tiny", None, columns)
        validation = kind("validation", self.rows, "tiny-held-out", None, columns)
        return _Opened(train, validation, None, "tiny")


class Runtime:
    """`asked` counts the answers given, by who was asked and what."""

    def __init__(self, says: Callable[[str, str], str]) -> None:
        self.says = says
        self.asked: Counter[tuple[str, str]] = Counter()
        self.requests: list[Mapping[str, Any]] = []

    async def converse(self, request: Mapping[str, Any]) -> RuntimeReply:
        self.requests.append(request)
        model_id = str(request["modelId"])
        prompt = next(part["text"] for part in request["messages"][0]["content"] if "text" in part)
        text = self.says(model_id, prompt)
        self.asked["tuned" if model_id.startswith("arn:") else model_id, prompt] += 1
        return RuntimeReply(text=text, input_tokens=10, output_tokens=3, stop_reason="end_turn")

    async def invoke(self, model_id: str, body: bytes, read: Any) -> Any:
        raise NotImplementedError


def world_of(rows: int, says: Callable[[str, str], str], **test: Any) -> tuple[World, Runtime]:
    world = World(test={"rows": rows, "compare_base": True, **test})
    world.dataset = HeldOut(rows)  # type: ignore[assignment]
    runtime = Runtime(says)
    world.aws.runtime = runtime  # type: ignore[assignment]
    return world, runtime


def lines_of(world: World, name: str) -> list[dict[str, Any]]:
    """A JSONL file of the run's folder."""
    return [json.loads(line) for line in own_object(world, name).splitlines()]


def own_object(world: World, name: str) -> bytes:
    """What the run `cats` has under `name` in its folder."""
    bucket = next(name for name in world.aws.s3.buckets if name.startswith("vlm-"))
    pattern = re.compile(rf"runs/cats-[0-9a-f]{{8}}/{re.escape(name)}")
    (body,) = [body for key, body in world.aws.s3.buckets[bucket].items() if pattern.fullmatch(key)]
    return body
