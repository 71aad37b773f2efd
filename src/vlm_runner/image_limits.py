"""What is read as an image: by datasets, staging and reports alike."""

from __future__ import annotations

from typing import Final

MAX_PIXELS: Final = 89_478_485
"""Pillow's own line between an image and a decompression bomb."""
MAX_SOURCE_BYTES: Final = 128 * 1024 * 1024
READABLE: Final = ("PNG", "JPEG", "WEBP", "GIF")
"""
What Pillow is allowed to open: its other decoders are where its security advisories are, and for EPS it would
start a program.
"""
