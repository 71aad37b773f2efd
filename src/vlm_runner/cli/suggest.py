"""Which spec fits a dataset, from a few of its rows; pure. Each choice has its reason; doubts are said."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.dataset.columns import USUAL as USUAL_COLUMNS
from vlm_runner.dataset.images import embedded, is_address, named_in
from vlm_runner.prompts import compile_prompt
from vlm_runner.prompts.templates import BEDROCK, images_in
from vlm_runner.prompts.templates import USUAL as USUAL_ROLES
from vlm_runner.spec import Columns, PromptSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.dataset.source import Peek

NO_IMAGES: Final = 'no column of images was found; name it: columns = { image = "…" }'
HELD_OUT: Final = ("validation", "valid", "val", "dev")
FEW_ROWS: Final = 20
"""Below so many rows none is held back by itself: a model wants eight to train on."""
_IMAGE_NAME: Final = re.compile(
    r"\.(png|jpe?g|gif|webp|bmp|tiff?|avif|jp2|ico|ppm|heic)$|^data:image/", re.IGNORECASE
)
REJECTED: Final = "rejected"
"""What preference data calls the answers that must not be learned; the others are `CHOSEN`."""
CHOSEN: Final = "chosen"
DEEPEST: Final = 3
"""Levels below a column where an image is looked for."""
_BEGINNINGS: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")


@dataclass(slots=True)
class Suggestion:
    """`[dataset]` and `[prompt]` of a spec, each line with its reason."""

    dataset: list[tuple[str, Any, str]] = field(default_factory=list[tuple[str, Any, str]])
    """Key, value, and why."""
    prompt: list[tuple[str, Any, str]] = field(default_factory=list[tuple[str, Any, str]])
    columns: dict[str, str] = field(default_factory=dict[str, str])
    unsure: list[str] = field(default_factory=list[str])
    """What a person should look at, each with the choices."""
    seen: list[str] = field(default_factory=list[str])


def suggest(peek: Peek) -> Suggestion:
    """The spec that fits `peek`."""
    made = Suggestion()
    _split(peek, made)
    chat = _chat_column(peek)
    image = _image_column(peek, made)
    rows = [dict(row) for row in peek.rows]
    if chat is not None:
        _of_chat(chat, image, rows, peek, made)
    else:
        _of_columns(peek, image, rows, made)
    _images_a_row(image, rows, made)
    _addresses(image, rows, made)
    _tried(image, rows, made)
    return made


def _split(peek: Peek, made: Suggestion) -> None:
    others = [split for split in peek.splits if split != peek.split]
    listed = ", ".join(peek.splits)
    made.dataset.append(("split", peek.split, f"{peek.num_rows:,} rows; splits: {listed}"))
    if peek.split != "train" and others:
        made.unsure.append(f'no split is named "train"; the first one is taken. Splits: {listed}')
    held = next((split for name in HELD_OUT for split in others if split.lower() == name), None)
    if held is not None:
        made.dataset.append(("validation_split", held, "held-out rows: for the loss and the test calls"))
    elif "test" in others:
        made.dataset.append(("validation_split", "test", "no validation split; these are held out"))
        made.unsure.append(
            'the split "test" is held out; use validation_fraction = 0.1 to keep it for yourself'
        )
    elif peek.num_rows >= FEW_ROWS:
        made.dataset.append(
            ("validation_fraction", 0.1, "no split of held-out rows: one in ten is held back")
        )
    else:
        made.unsure.append("there are few rows, and none is held out: the test calls ask about trained ones")


def _chat_column(peek: Peek) -> str | None:
    for column in peek.columns:
        values = [row[column] for row in peek.rows if row.get(column) is not None]
        if column.lower() != REJECTED and values and all(_is_chat(value) for value in values):
            return column
    return None


def _messages(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    if isinstance(value, Mapping) and value and all(isinstance(each, list) for each in value.values()):
        value = [dict(zip(value, each, strict=False)) for each in zip(*value.values(), strict=False)]
    return value if isinstance(value, list) else []


def _is_chat(value: Any) -> bool:
    messages = _messages(value)
    return bool(messages) and all(
        isinstance(each, Mapping)
        and any({"role", "content"} <= keys or {"from", "value"} <= keys or {"user", "assistant"} <= keys
                for keys in [set(each)])
        for each in messages
    )  # fmt: skip


def _image_column(peek: Peek, made: Suggestion) -> str | None:
    found = [
        column
        for column in peek.columns
        if any(_has_image(row.get(column)) for row in peek.rows)
    ]  # fmt: skip
    usual = [name for name in USUAL_COLUMNS["image"] if name in [column.lower() for column in found]]
    ordered = sorted(
        found, key=lambda each: usual.index(each.lower()) if each.lower() in usual else len(usual)
    )
    if not ordered:
        return _nested_image(peek, made)
    if len(ordered) > 1:
        made.unsure.append(f"several columns hold images: {', '.join(ordered)}; the first of them is taken")
    if ordered[0].lower() not in USUAL_COLUMNS["image"] or len(ordered) > 1:
        made.columns["image"] = ordered[0]
    return ordered[0]


def _nested_image(peek: Peek, made: Suggestion) -> str | None:
    """Where in a column images are, such as `page.shot` or `pages[].image`, and that it was found so."""
    for column in peek.columns:
        for row in peek.rows:
            if (steps := _steps_to_image(row.get(column), DEEPEST)) is not None:
                made.columns["image"] = f"{column}{steps}"
                return made.columns["image"]
    return None


def _steps_to_image(value: Any, levels: int) -> str | None:
    if _has_image(value):
        return ""
    if not levels or _is_chat(value):
        return None
    if isinstance(value, Mapping):
        inside = ((f".{name}", each) for name, each in value.items())
    elif isinstance(value, list):
        inside = (("[]", each) for each in value[:1])
    else:
        return None
    found = ((step, _steps_to_image(each, levels - 1)) for step, each in inside)
    return next((f"{step}{more}" for step, more in found if more is not None), None)


def _has_image(value: Any) -> bool:
    if isinstance(value, list):
        return any(_has_image(each) for each in value)
    if isinstance(value, Mapping):
        return "bytes" in value and (value["bytes"] is not None or value.get("path") is not None)
    if isinstance(value, bytes):
        return value.startswith(_BEGINNINGS)
    if not isinstance(value, str):
        return False
    return (len(value) < 4096 and _IMAGE_NAME.search(value) is not None) or embedded(value) is not None


def _parts(messages: Sequence[Any]) -> list[Mapping[str, Any]]:
    contents = [each.get("content") for each in messages if isinstance(each, Mapping)]
    return [
        part
        for content in contents
        if isinstance(content, list)
        for part in content
        if isinstance(part, Mapping)
    ]


def _bedrock_source(part: Mapping[str, Any]) -> Mapping[str, Any] | None:
    image = part.get("image")
    source = image.get("source") if isinstance(image, Mapping) else None
    return source if isinstance(source, Mapping) else None


def _fetch(sources: Sequence[Mapping[str, Any]], peek: Peek, made: Suggestion) -> None:
    """Images outside of the dataset are read only where the spec says so."""
    home = peek.source if posixpath.splitext(peek.source)[1] == "" else posixpath.dirname(peek.source)
    places = [place for each in sources if isinstance(place := each.get("s3Location"), Mapping)]
    named = [str(place.get("uri")) for place in places]
    outside = [uri for uri in named if uri.startswith("s3://") and not uri.startswith(f"{home.rstrip('/')}/")]
    if outside:
        made.dataset.append(
            ("fetch_images", True, f"images lie outside of the dataset, such as {outside[0]}")
        )
    if stored := [uri for uri in named if uri.startswith("s3://")]:
        folder = f"{posixpath.dirname(stored[0])}/"
        bucket = folder.removeprefix("s3://").partition("/")[0]
        made.seen.append(
            "images are copied; they stay where they lie with "
            f'images_in_place = ["{folder}"] under [dataset] and bucket = "{bucket}" under [storage]'
        )


def _of_chat(
    chat: str, image: str | None, rows: Sequence[Mapping[str, Any]], peek: Peek, made: Suggestion
) -> None:
    messages = [each for row in rows for each in _messages(row.get(chat))]
    parts = _parts(messages)
    if any("from" in each and "value" in each for each in messages):
        preset, why = "sharegpt", f"'{chat}' holds turns with from and value"
    elif image is None and any(part.get("image_url") is not None for part in parts):
        preset, why = "openai-vision", f"'{chat}' holds turns whose parts have an image_url"
    elif image is None and (sources := [each for each in map(_bedrock_source, parts) if each is not None]):
        preset, why = BEDROCK, f"'{chat}' holds turns as Bedrock takes them"
        _fetch(sources, peek, made)
    else:
        preset, why = "messages", f"'{chat}' holds turns with role and content"
        if any("user" in each and "assistant" in each for each in messages):
            why = f"'{chat}' holds pairs of user and assistant"
        if image is None and any(part.get("image") is not None for part in parts):
            made.columns["image"] = f"{chat}[].content[].image"
    made.prompt.append(("preset", preset, why))
    _name("messages", chat, USUAL_ROLES[preset]["messages"], [*rows[:1]], made)
    if image is None and images_in(preset, chat) is None and "image" not in made.columns:
        made.unsure.append(NO_IMAGES)


def _name(
    role: str, column: str, usual: Sequence[str], rows: Sequence[Mapping[str, Any]], made: Suggestion
) -> None:
    """Name the column for a role, unless it is found under its usual name."""
    there = [name for name in usual if name in {each.lower() for row in rows for each in row}]
    if not there or there[0] != column.lower():
        made.columns[role] = column


def _of_columns(peek: Peek, image: str | None, rows: Sequence[Mapping[str, Any]], made: Suggestion) -> None:
    lower = {column.lower(): column for column in reversed(peek.columns)}

    def usual(names: Sequence[str]) -> str | None:
        return next((lower[name] for name in names if name in lower and lower[name] != image), None)

    question, answer = usual(USUAL_ROLES["qa"]["question"]), usual(USUAL_ROLES["qa"]["answer"])
    if answer is None and question is not None and CHOSEN in lower and REJECTED in lower:
        answer = made.columns["answer"] = lower[CHOSEN]
        made.seen.append(f"the answers in '{lower[REJECTED]}' are not trained")
    caption = usual(USUAL_ROLES["caption"]["caption"])
    html, output = usual(USUAL_COLUMNS["html"]), usual(USUAL_COLUMNS["output"])
    if html is not None and output is not None:
        several = any(isinstance(row.get(image or ""), list) for row in rows)
        preset = "accessibility-regions" if several else "accessibility"
        made.prompt.append(("preset", preset, f"columns '{html}' (HTML) and '{output}' (findings)"))
    elif question is not None and answer is not None:
        listed = any(isinstance(row.get(answer), list) for row in rows)
        more = "; of its lists the first answer is trained, and all count as right" if listed else ""
        made.prompt.append(("preset", "qa", f"columns '{question}' and '{answer}'{more}"))
    elif caption is not None:
        made.prompt.append(("preset", "caption", f"column '{caption}'"))
    else:
        _templates(peek, image, made)
    if image is None:
        made.unsure.append(NO_IMAGES)


def _templates(peek: Peek, image: str | None, made: Suggestion) -> None:
    texts = [
        column
        for column in peek.columns
        if column != image
        and not column.startswith("__")  # of a WebDataset: a sample's key, and where it was
        and column.lower() != REJECTED
        and any(isinstance(row.get(column), str | int | float) for row in peek.rows)
    ]
    if not texts:
        made.prompt.append(("preset", "caption", "no column of texts was found"))
        made.unsure.append("no column holds an answer; each image needs one, such as a column 'caption'")
        return
    asked = [*(_cell(column) for column in texts[:-1])] or ["Describe the image."]
    made.prompt.append(("user", "\n".join(asked), "no preset fits these columns"))
    made.prompt.append(("assistant", _cell(texts[-1]), "the last column of texts"))
    made.unsure.append(f"which column is the answer: {', '.join(texts)}; the last of them is taken")


def _cell(column: str) -> str:
    """A column in a template, whatever its name holds."""
    plain = not any(character in column for character in "'\\\n\r")
    return f"{{{{ row['{column}'] }}}}" if plain else f"{{{{ row[{json.dumps(column)}] }}}}"


def _images_a_row(image: str | None, rows: Sequence[Mapping[str, Any]], made: Suggestion) -> None:
    values = [row[image] for row in rows if image is not None and image in row]
    counts = [len(value) if isinstance(value, list) else 1 for value in values]
    if counts and max(counts) > 1:
        made.seen.append(f"up to {max(counts)} images a row; Llama 3.2 takes one, Nova ten")
    elif counts:
        made.seen.append("one image a row")


def _addresses(image: str | None, rows: Sequence[Mapping[str, Any]], made: Suggestion) -> None:
    """Fetching them is for a person to allow."""
    named = (path for row in rows for path in named_in(row.get(image or "")))
    if (first := next(filter(is_address, named), None)) is not None:
        made.unsure.append(
            f"images are addresses, such as {first[:100]}; they are fetched only with fetch_images = true"
        )


def _tried(image: str | None, rows: Sequence[Mapping[str, Any]], made: Suggestion) -> None:
    """What the prompt makes of the rows that were looked at."""
    given = {role: name for role, name in made.columns.items() if role != "image"}
    prompt = compile_prompt(
        PromptSpec.model_validate({key: value for key, value, _ in made.prompt}), Columns(**given)
    )
    lower = {column.lower(): column for column in (rows[0] if rows else {})}
    bad = []
    for row in rows:
        value = row.get(image or "")
        fields = dict(row)
        for role in ("html", "output"):
            name = next((lower[each] for each in USUAL_COLUMNS[role] if each in lower), None)
            if name is not None:
                fields[role] = row[name]
        images = len(value) if isinstance(value, list) else 1
        attempt = prompt.attempt(fields | {"image_count": images}, images)
        bad += [problem.reason for problem in attempt.problems[:1]] if image is not None else []
    made.seen.append(f"{len(rows) - len(bad)} of the {len(rows)} rows that were looked at make a record")
    if bad:
        made.unsure.append(f"{len(bad)} of {len(rows)} rows make no record; the first because: {bad[0]}")
