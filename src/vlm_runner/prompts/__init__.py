"""What the model is asked and shall answer: templates over a row's columns, or the data's own turns."""

from __future__ import annotations

from vlm_runner.prompts.parse import Item, ParsedAnswer, parse_answer
from vlm_runner.prompts.templates import (
    Prompt,
    Rendered,
    compile_prompt,
    preset,
    preset_names,
)

__all__ = [
    "Item",
    "ParsedAnswer",
    "Prompt",
    "Rendered",
    "compile_prompt",
    "parse_answer",
    "preset",
    "preset_names",
]
