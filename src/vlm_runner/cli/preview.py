"""preview: one row as the model will learn it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from PIL import Image
from rich.console import Console

from vlm_runner.cli import console
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.data_source import images_of, open_for, row_of
from vlm_runner.lint.one_row import rendered
from vlm_runner.lint.tokens import text_tokens
from vlm_runner.models import load_catalogue
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from vlm_runner.json_output import PreviewJson

COLUMNS = 64
"""Character cells that an image takes in the terminal."""


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option(
    "--row", default=0, show_default=True, type=click.IntRange(min=0), help="The row, counted from 0."
)
@click.option("--validation", is_flag=True, help="Take the row from the held-out rows.")
@click.option(
    "--image",
    "image_file",
    metavar="FILE",
    help="Save the image there, and further ones beside it, instead of showing them.",
)
@json_option
@where_options
def preview(
    spec_file: str, row: int, image_file: str | None, *, validation: bool, as_json: bool, **flags: Any
) -> None:
    """Show one row as the model will see it, with its lint findings.

    Needs no AWS, unless the dataset is in S3. A terminal with 24-bit colour shows the images; elsewhere they
    are saved beside SPEC.

    \b
    Example:
        vlm-runner preview run.toml --row 3
        vlm-runner preview run.toml --row 3 --image page.png
    """
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(Where(**flags), spec_region=spec.aws.region)
    profile = load_catalogue(settings.catalogue).find(spec.model.base)
    opened = open_for(spec, settings)
    found, subset = row_of(opened, row, validation=validation)
    shown = rendered(found, subset, spec, profile)
    images = images_of(found, subset)
    first = None
    if image_file is not None:
        first = Path(image_file)
    elif as_json or not shows_pictures():
        first = Path(spec_file).with_name(f"{subset.name}-{row:03d}.{_extension(images[0])}")
    if first is not None:
        shown["images"] = saved(images, first)
    if as_json:
        console.result_json(shown)
        return
    console.verbatim(text(shown))
    if first is None:
        for image in images:
            click.echo(blocks(image))


def shows_pictures() -> bool:
    """Whether stdout is a terminal that says that it has 24-bit colour."""
    return Console().color_system == "truecolor"


def saved(images: tuple[bytes, ...], first: Path) -> list[str]:
    """Write the row's images: to `first`, and further ones beside it, numbered as in S3."""
    names = [first]
    names += [
        first.with_name(f"{first.stem}-{place}.{_extension(body)}")
        for place, body in enumerate(images[1:], 1)
    ]
    for name, body in zip(names, images, strict=True):
        name.write_bytes(body)
    return [str(name) for name in names]


def text(shown: PreviewJson) -> str:
    lines = [f"{shown['subset']} row {shown['row']} (row {shown['source_row']} of the dataset)"]
    names: tuple[Literal["system", "user", "assistant"], ...] = ("system", "user", "assistant")
    for name in names if not shown["turns"] else ("system",):
        if name in shown:
            body = shown[name]
            lines += ["", _heading(name, body or ""), *_body(body)]
    for turn in shown["turns"]:
        lines += ["", _heading(turn["role"], turn["text"]), *_body(turn["text"])]
    if shown["accepted"]:
        lines += ["", f"As right in the test calls: {' · '.join(shown['accepted'])}"]
    tokens = {name: count for name, count in shown["tokens"].items() if name != "limit"}
    count = shown["image_count"]
    which = "the image" if count == 1 else f"{count} images"
    image = f"{tokens['image']:,} of them for {which} of {shown['image_bytes']:,} bytes"
    lines += ["", f"About {sum(tokens.values()):,} of {shown['tokens']['limit']:,} tokens, {image}."]
    for finding in shown["findings"]:
        lines.append(f"{finding['severity']}: {finding['code']} {finding['field']}: {finding['message']}")
    if shown["images"]:
        lines.append(f"Saved: {', '.join(shown['images'])}.")
    return "\n".join(lines)


def _heading(name: str, said: str) -> str:
    return f"── {name} (about {text_tokens(said):,} tokens) ──"


def _body(said: str | None) -> list[str]:
    return ["(cannot be rendered; see below)" if said is None else said.rstrip()]


def blocks(body: bytes) -> str:
    """The image in half blocks of 24-bit colour: two pixels to a cell."""
    with Image.open(io.BytesIO(body), formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
        image.draft("RGB", (COLUMNS, COLUMNS))
        small = image.convert("RGB")
        small.thumbnail((COLUMNS, COLUMNS))
    pixels = small.tobytes()

    def colour(x: int, y: int) -> str:
        at = (min(y, small.height - 1) * small.width + x) * 3
        return f"{pixels[at]};{pixels[at + 1]};{pixels[at + 2]}"

    rows = [
        "".join(f"\x1b[38;2;{colour(x, y)}m\x1b[48;2;{colour(x, y + 1)}m▀" for x in range(small.width))
        for y in range(0, small.height, 2)
    ]
    return "\n".join(f"{row}\x1b[0m" for row in rows)


def _extension(body: bytes) -> str:
    if body.startswith(b"\x89PNG"):
        return "png"
    if body.startswith(b"\xff\xd8"):
        return "jpg"
    return "webp" if body[8:12] == b"WEBP" else "gif"
