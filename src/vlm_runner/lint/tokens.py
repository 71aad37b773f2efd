"""How many tokens a text is: an estimate, since Bedrock tells no count before it bills."""

from __future__ import annotations

CHARACTERS_A_TOKEN = 4
"""Our estimate for English and HTML; no tokenizer of these models is public."""


def text_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_A_TOKEN)
