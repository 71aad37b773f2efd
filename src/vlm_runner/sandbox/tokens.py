"""How many tokens a text or an image is: Bedrock bills and limits by them."""

from typing import Literal


def text_tokens(text: str) -> int:
    """An estimate of ours: four characters a token."""
    return (len(text) + 3) // 4


def image_tokens(family: Literal["llama", "nova"], width: int, height: int) -> int:
    """
    Llama: the formula of the user guide (model-customization-prepare), 1601 to 6404.
    Nova: a line through the guide's three examples (900x450: 800, 900x900: 1300, 1300x1300: 2600).
    """
    if family == "llama":
        return min(2, max(height // 560, 1)) * min(2, max(width // 560, 1)) * 1601
    return 300 + width * height // 810
