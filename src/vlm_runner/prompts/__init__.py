"""What the model is asked and what it shall answer: templates over a row's columns."""

from __future__ import annotations

from vlm_runner.prompts.parse import Item, ParsedAnswer, parse_answer
from vlm_runner.prompts.templates import (
    Prompt,
    Rendered,
    RenderedQuestion,
    compile_prompt,
    preset,
    preset_names,
)

__all__ = [
    "Item",
    "ParsedAnswer",
    "Prompt",
    "Rendered",
    "RenderedQuestion",
    "compile_prompt",
    "parse_answer",
    "preset",
    "preset_names",
]
