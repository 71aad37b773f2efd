"""Hold rows back for validation: always the same ones, and none that training has seen."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SEED = "vlm-runner"


def divide(
    keys: Sequence[Collection[str]], fraction: float, *, seed: str = SEED
) -> tuple[list[int], list[int]] | None:
    """
    The rows to train on and those held back, each in order.

    `keys` say of each row what it holds; rows that share a key stay on one side. The share held back is
    `fraction` or, where shared keys do not allow that, less, but at least one row. None: all hang together.
    """
    groups = sorted(_groups(keys), key=lambda group: _rank(group, keys, seed))
    if len(groups) < 2:
        return None
    wanted = min(max(1, round(len(keys) * fraction)), len(keys) - 1)
    held: list[int] = []
    for group in groups:
        if len(held) + len(group) <= wanted:
            held += group
    held = held or min(groups, key=len)
    apart = set(held)
    return [row for row in range(len(keys)) if row not in apart], sorted(held)


def _groups(keys: Sequence[Collection[str]]) -> list[list[int]]:
    leader = list(range(len(keys)))

    def lead(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    first: dict[str, int] = {}
    for row, held in enumerate(keys):
        for key in held:
            leader[lead(row)] = lead(first.setdefault(key, row))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for row in range(len(keys)):
        groups[lead(row)].append(row)
    return list(groups.values())


def _rank(group: list[int], keys: Sequence[Collection[str]], seed: str) -> tuple[bytes, int]:
    held = sorted(key for row in group for key in keys[row])
    # By content, not by place: a row added to the dataset does not deal the others anew.
    return hashlib.sha256(f"{seed}\n{held[0] if held else group[0]}".encode()).digest(), group[0]


def sample(count: int, size: int, seed: str) -> list[int]:
    """`size` of `count` rows, in order, as `seed` chooses them: the same on every machine and version."""
    ranked = sorted(range(count), key=lambda row: hashlib.sha256(f"{seed}\n{row}".encode()).digest())
    return sorted(ranked[:size])
