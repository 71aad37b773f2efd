"""Token counts of texts and images; Bedrock bills and limits by tokens."""

from math import ceil
from typing import Literal


def text_tokens(text: str) -> int:
    """An estimate: four characters a token."""
    return (len(text) + 3) // 4


def image_tokens(family: Literal["llama", "nova"], width: int, height: int) -> int:
    """
    Llama: the formula of the user guide (model-customization-prepare), 1601 to 6404.
    Nova: by area, on straight lines between the guide's three examples (900x450: 800, 900x900: 1300,
    1300x1300: 2600); a longest side of less than 896 pixels is enlarged to that first.
    """
    if family == "llama":
        return min(2, max(height // 560, 1)) * min(2, max(width // 560, 1)) * 1601
    enlarged = max(1.0, 896 / max(width, height)) ** 2
    area = width * height * enlarged
    if area <= 900 * 900:
        return ceil(800 + (area - 900 * 450) * 500 / (900 * 450))
    return ceil(1300 + (area - 900 * 900) * 1300 / (1300 * 1300 - 900 * 900))
