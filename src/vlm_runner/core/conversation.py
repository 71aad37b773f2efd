"""What a record says: turns of texts and images, whatever the model and the API."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """The place of one of the row's images."""

    number: int
    """From 0, in the order in which the row has them."""


Block = str | ImageBlock


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    blocks: tuple[Block, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(block for block in self.blocks if isinstance(block, str))

    @property
    def images(self) -> tuple[int, ...]:
        return tuple(block.number for block in self.blocks if isinstance(block, ImageBlock))

    @property
    def text(self) -> str:
        """All its texts, one after another."""
        return "".join(self.texts)

    @property
    def shown(self) -> str:
        """As a person reads it: each image by its number, from 1."""
        return "\n".join(
            block if isinstance(block, str) else f"[image {block.number + 1}]" for block in self.blocks
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """
    A question or a whole training example; roles alternate, the user begins.

    Without an `ImageBlock` in any turn the images have no place of their own yet: `placed` gives them one.
    """

    system: str | None
    turns: tuple[Turn, ...]

    @property
    def question(self) -> Conversation:
        """All before the last answer."""
        return replace(self, turns=self.turns[:-1])

    @property
    def answer(self) -> str:
        return self.turns[-1].text

    @property
    def images(self) -> tuple[int, ...]:
        """The numbers of the images that have a place, in the order of their places."""
        return tuple(number for turn in self.turns for number in turn.images)

    def texts(self) -> Iterator[str]:
        if self.system is not None:
            yield self.system
        for turn in self.turns:
            yield from turn.texts

    def placed(self, images: int, *, image_first: bool) -> Conversation:
        """With a place for all `images`: beside the first turn's text, unless the data has placed them."""
        if self.images:
            return self
        first, *later = self.turns
        pictures = tuple(map(ImageBlock, range(images)))
        blocks = (*pictures, *first.blocks) if image_first else (*first.blocks, *pictures)
        return Conversation(self.system, (Turn(first.role, blocks), *later))


def single(system: str | None, user: str, assistant: str | None = None) -> Conversation:
    """One question, and its answer if it has one; its images have no place yet."""
    answer = () if assistant is None else (Turn("assistant", (assistant,)),)
    return Conversation(system, (Turn("user", (user,)), *answer))
