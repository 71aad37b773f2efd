"""Which module speaks a family's own InvokeModel payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from vlm_runner.errors import ConfigurationError
from vlm_runner.models import llama32, nova

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.core.conversation import Conversation
    from vlm_runner.models.answer import Answer
    from vlm_runner.models.profile import ModelProfile


class Family(Protocol):
    def invoke_body(
        self,
        question: Conversation,
        images: Sequence[tuple[bytes, str]],
        *,
        max_tokens: int,
        temperature: float,
        image_first: bool = False,
    ) -> dict[str, Any]: ...

    def invoke_text(self, body: dict[str, Any]) -> Answer: ...


FAMILIES: Mapping[str, Family] = {"llama32": llama32, "nova": nova}


def family_of(profile: ModelProfile) -> Family:
    """
    The payloads of `profile`'s family.

    Raises:
        ConfigurationError: a user's own catalogue names a family that has none; Converse still works.
    """
    if family := FAMILIES.get(profile.family):
        return family
    raise ConfigurationError(
        f"InvokeModel is not known for the model family '{profile.family}'.",
        hint='Set test.api = "converse" in the spec.',
    )
