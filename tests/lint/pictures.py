"""Images, good and bad, made here: nothing hostile lies in the repository."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image, ImageDraw, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(width: int = 64, height: int = 48, mode: str = "RGB", shade: int = 200) -> Image.Image:
    image = Image.new(mode, (width, height))
    colour: Any = {"RGB": (shade, 90, 20), "RGBA": (shade, 90, 20, 128), "CMYK": (shade, 9, 2, 0)}.get(
        mode, shade % 2
    )
    ImageDraw.Draw(image).rectangle([4, 4, width // 2, height // 2], fill=colour)
    return image


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def png(width: int = 64, height: int = 48, shade: int = 200) -> bytes:
    return saved(picture(width, height, shade=shade))


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def by_hand(
    width: int,
    height: int,
    data: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    extra: bytes = b"",
    interlace: int = 0,
) -> bytes:
    """A PNG that says what it is told to, with right checksums."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND")


def rows_of(width: int, height: int, filter_type: int = 0) -> bytes:
    return zlib.compress((bytes([filter_type]) + bytes(width)) * height)


def flipped(body: bytes, at: int) -> bytes:
    """One byte changed."""
    return body[:at] + bytes([body[at] ^ 0x40]) + body[at + 1 :]


def zeros(mebibytes: int) -> bytes:
    """A zlib stream of so many zeros, without the seconds that compressing them takes."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = packer.compress(bytes(1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = (mebibytes * 1024 * 1024 % 65521) << 16 | 1
    return b"\x78\xda" + mebibytes * block + b"\x03\x00" + struct.pack(">I", adler)


def with_text_bomb() -> bytes:
    return by_hand(16, 16, rows_of(16, 16), extra=chunk(b"zTXt", b"Comment\0\0" + zeros(80)))


def with_many_texts() -> bytes:
    """Each unpacks to no more than a reader takes, all together to 100 MiB."""
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(1))
    return by_hand(16, 16, rows_of(16, 16), extra=100 * text)


def animated(form: str) -> bytes:
    frames = [picture(shade=30), picture(shade=230)]
    return saved(frames[0], form, save_all=True, append_images=frames[1:], duration=100)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture(), "JPEG", exif=exif)


def turned_png() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8
    return saved(picture(), "PNG", exif=exif)


def commented() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "harmless")
    return saved(picture(), pnginfo=info)


def noisy() -> bytes:
    """More bytes than Converse takes, and fewer than training does."""
    noise = random.Random(7)
    return by_hand(2000, 2000, zlib.compress(b"".join(b"\0" + noise.randbytes(2000) for _ in range(2000)), 1))


SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ERROR_PAGE = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"

GOOD: dict[str, bytes] = {
    "plain": png(),
    "grey": saved(picture(mode="L")),
    "black and white": saved(picture(mode="1")),
    "transparent": saved(picture(mode="RGBA")),
    "palette": saved(picture().quantize(16)),
    "with a comment": commented(),
    "jpeg": saved(picture(), "JPEG"),
    "webp": saved(picture(), "WEBP"),
    "gif": saved(picture(), "GIF"),
}

BAD: dict[str, tuple[bytes, str]] = {
    "zero bytes": (b"", "I102"),
    "random bytes": (bytes(range(7, 200)), "I110"),
    "SVG named PNG": (SVG, "I111"),
    "an error page saved as an image": (ERROR_PAGE, "I112"),
    "an error in JSON saved as an image": (b'{"error": "rate limited"}', "I112"),
    "PDF": (b"%PDF-1.7\n" + bytes(64), "I113"),
    "a video": (b"\0\0\0\x20ftypisom" + bytes(64), "I113"),
    "Git LFS pointer": (LFS, "I114"),
    "PNG cut off": (png()[:-40], "I120"),
    "PNG of nothing but its signature": (SIGNATURE, "I120"),
    "PNG without its end": (png()[:-12], "I120"),
    "PNG with one bit turned": (flipped(png(), 60), "I121"),
    "PNG with half of its pixels": (by_hand(64, 64, rows_of(64, 32)), "I122"),
    "PNG with pixels that are no stream": (by_hand(64, 64, b"not a zlib stream"), "I122"),
    "PNG with an unknown filter": (by_hand(64, 64, rows_of(64, 64, 9)), "I122"),
    "PNG without pixels": (
        SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)) + chunk(b"IEND"), "I122",
    ),
    "PNG of no width": (by_hand(0, 64, rows_of(0, 64)), "I123"),
    "PNG of an impossible depth": (by_hand(8, 8, rows_of(8, 8), depth=3), "I123"),
    "PNG with two headers": (
        by_hand(8, 8, rows_of(8, 8), extra=chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))), "I123",
    ),
    "interlaced PNG, damaged": (by_hand(64, 64, rows_of(64, 8), interlace=1), "I122"),
    "JPEG cut off": (saved(picture(200, 200), "JPEG")[:-300], "I124"),
    "JPEG of its first bytes": (b"\xff\xd8\xff\xe0", "I124"),
    "GIF cut off": (saved(picture(200, 200), "GIF")[:60], "I125"),
    "WebP cut off": (saved(picture(200, 200), "WEBP", lossless=True)[:40], "I126"),
    "huge dimensions, few bytes": (by_hand(100_000, 100_000, rows_of(8, 8)), "I134"),
    "zip bomb of a PNG": (by_hand(16, 16, zeros(50)), "I136"),
    "text that unpacks to 80 MB": (with_text_bomb(), "I137"),
    "texts that unpack to 100 MB": (with_many_texts(), "I137"),
    "9000 pixels wide": (by_hand(9000, 20, rows_of(9000, 20)), "I150"),
    "9000 pixels high": (by_hand(20, 9000, rows_of(20, 9000)), "I150"),
    "CMYK": (saved(picture(mode="CMYK"), "JPEG"), "I140"),
    "16 bits a channel": (saved(Image.new("I;16", (64, 48), 40_000)), "I141"),
    "palette with transparency": (saved(picture().quantize(16), transparency=0), "I142"),
    "animated GIF": (animated("GIF"), "I143"),
    "animated WebP": (animated("WEBP"), "I143"),
    "animated PNG": (animated("PNG"), "I143"),
    "turned by EXIF": (turned(), "I144"),
    "PNG turned by EXIF": (turned_png(), "I144"),
    "bytes after its end": (png() + b"PK\x03\x04 a zip file", "I128"),
}  # fmt: skip
"""Each with the code that it must have, though it may have others."""
