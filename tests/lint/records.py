"""JSONL records, good and bad."""

from __future__ import annotations

import copy
import io
import json
from typing import TYPE_CHECKING, Any

from vlm_runner.lint import LintReport, lint_jsonl
from vlm_runner.lint.jsonl import Lines
from vlm_runner.models import find

from .pictures import png

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT = "123456789012"
BUCKET = "vlm-accessibility"
NOVA = "amazon.nova-lite-v1:0:300k"
LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
KEY = "images/train/000.png"


def good(number: int = 0, key: str = KEY) -> dict[str, Any]:
    location = {"uri": f"s3://{BUCKET}/{key}", "bucketOwner": ACCOUNT}
    picture = {"image": {"format": "png", "source": {"s3Location": location}}}
    return {
        "schemaVersion": "bedrock-conversation-2024",
        "system": [{"text": "You judge pages."}],
        "messages": [
            {"role": "user", "content": [{"text": f"Judge page {number}."}, picture]},
            {"role": "assistant", "content": [{"text": f"Finding {number}."}]},
        ],
    }


def bent(path: str, value: Any) -> dict[str, Any]:
    """A good record with the value at `path` replaced; `…` removes it."""
    record = copy.deepcopy(good())
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split("/")]
    at: Any = record
    for parent in parents:
        at = at[parent]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return record


def line(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")


TURN = "messages/0/content"
IMAGE = f"{TURN}/1/image"
URI = f"{IMAGE}/source/s3Location/uri"
USER = {"role": "user", "content": [{"text": "And now?"}]}
ANSWER = {"role": "assistant", "content": [{"text": "So."}]}
DEEP = "[" * 100_000

BAD: dict[str, tuple[bytes, str]] = {
    "no UTF-8": (b'{"messages": "\xff\xfe"}', "J303"),
    "UTF-16": (json.dumps(good()).encode("utf-16-le"), "J308"),
    "a byte order mark": (b"\xef\xbb\xbf" + line(good()), "J304"),
    "an empty line": (b"", "J306"),
    "a line of spaces": (b"   \t", "J306"),
    "no JSON": (b"{'messages': []}", "J308"),
    "a record cut off": (line(good())[:-5], "J308"),
    "two objects on one line": (line(good()) + line(good()), "J309"),
    "a list": (b"[1, 2]", "J310"),
    "a string": (b'"messages"', "J310"),
    "prompt and completion": (b'{"prompt": "a", "completion": "b"}', "J311"),
    "no messages": (line(bent("messages", ...)), "J312"),
    "messages that are an object": (line(bent("messages", {})), "J312"),
    "no schemaVersion": (line(bent("schemaVersion", ...)), "J313"),
    "another schemaVersion": (line(bent("schemaVersion", "bedrock-2023")), "J314"),
    "a schemaVersion that is a number": (line(bent("schemaVersion", 2024)), "J314"),
    "system as a string": (line(bent("system", "You judge.")), "J315"),
    "two system texts": (line(bent("system", [{"text": "a"}, {"text": "b"}])), "J316"),
    "an empty system text": (line(bent("system", [{"text": " "}])), "J317"),
    "no turns": (line(bent("messages", [])), "J318"),
    "the assistant begins": (line(bent("messages", [ANSWER, USER, ANSWER])), "J319"),
    "two questions": (line(bent("messages", [USER, USER, ANSWER])), "J320"),
    "a role of its own": (line(bent("messages/0/role", "human")), "J321"),
    "the user has the last word": (line(bent("messages", [*good()["messages"], USER])), "J322"),
    "content as a string": (line(bent(TURN, "Judge.")), "J323"),
    "no content": (line(bent(TURN, [])), "J323"),
    "an unknown block": (line(bent(f"{TURN}/0", {"audio": {}})), "J324"),
    "a block that is a string": (line(bent(f"{TURN}/0", "Judge.")), "J324"),
    "an image in the answer": (line(bent("messages/1/content", [{"text": "a"}, good()["messages"][0]["content"][1]])), "J325"),
    "an answer without text": (line(bent("messages/1/content", [{"image": {}}])), "J326"),
    "an empty question": (line(bent(f"{TURN}/0/text", "")), "J327"),
    "an empty answer": (line(bent("messages/1/content/0/text", "\n")), "J327"),
    "a text that is a number": (line(bent(f"{TURN}/0/text", 7)), "J328"),
    "eleven images": (line(bent(TURN, [{"text": "a"}, *[good()["messages"][0]["content"][1]] * 11])), "J329"),
    "an image in the record itself": (line(bent(f"{IMAGE}/source", {"bytes": "aGVsbG8="})), "J330"),
    "an image without a source": (line(bent(f"{IMAGE}/source", ...)), "J330"),
    "a URI with a space": (line(bent(URI, f"s3://{BUCKET}/a b.png")), "J331"),
    "a URI of the web": (line(bent(URI, "https://example.com/a.png")), "J331"),
    "an image in another bucket": (line(bent(URI, f"s3://another-bucket/{KEY}")), "J332"),
    "an owner that is no account": (line(bent(f"{IMAGE}/source/s3Location/bucketOwner", "me")), "J333"),
    "an owner that is another account": (line(bent(f"{IMAGE}/source/s3Location/bucketOwner", "1" * 12)), "J334"),
    "an image that is not there": (line(bent(URI, f"s3://{BUCKET}/images/none.png")), "J335"),
    "no image format": (line(bent(f"{IMAGE}/format", ...)), "J336"),
    "a format that no model takes": (line(bent(f"{IMAGE}/format", "tiff")), "J337"),
    "a format that it is not": (line(bent(f"{IMAGE}/format", "jpeg")), "J338"),
    "an unknown key": (line(good() | {"id": 7}), "J339"),
    "a key twice": (b'{"schemaVersion": "a", ' + line(good())[1:], "J340"),
    "NaN": (b'{"n": NaN, ' + line(good())[1:], "J341"),
    "no image at all": (line(bent(TURN, [{"text": "Judge."}])), "J342"),
    "a CRLF line end": (line(good()) + b"\r", "J343"),
    "a video": (line(bent(f"{TURN}/1", {"video": {"format": "mp4"}})), "J344"),
    "a turn that is a string": (line(bent("messages/0", "Judge.")), "J345"),
    "brackets without end": (DEEP.encode(), "J346"),
    "half a character": (line(bent(f"{TURN}/0/text", "x")).replace(b'"x"', b'"\\ud83d"'), "T207"),
    "a NUL": (line(bent(f"{TURN}/0/text", "a\0b")), "T208"),
    "a line separator": (line(bent(f"{TURN}/0/text", "a\u2028b")), "T209"),
    "mixed line ends": (line(bent(f"{TURN}/0/text", "a\r\nb\nc")), "T210"),
    "a byte order mark in a text": (line(bent(f"{TURN}/0/text", "\ufeffJudge.")), "T211"),
    "a lost character": (line(bent(f"{TURN}/0/text", "caf\ufffd")), "T212"),
    "letters turned around": (line(bent(f"{TURN}/0/text", "a\u202egnp.b")), "T213"),
    "the placeholder of LLaVA": (line(bent(f"{TURN}/0/text", "<IMAGE>\nJudge.")), "T220"),
    "a role in the text": (line(bent(f"{TURN}/0/text", "It says: user: hello")), "T220"),
    "an end-of-sequence mark": (line(bent("messages/1/content/0/text", "Done. [eos]")), "T220"),
    "Llama's own token": (line(bent(f"{TURN}/0/text", "a<|eot_id|>b")), "T221"),
    "1 MB of HTML": (line(bent(f"{TURN}/0/text", "<p>cats</p>" * 100_000)), "T230"),
    "nearly too much": (line(bent(f"{TURN}/0/text", "abcd" * 30_000)), "T231"),
}  # fmt: skip


def fetch(bucket: str, key: str) -> bytes | None:
    return png() if (bucket, key) == (BUCKET, KEY) else None


def lint(
    *lines: bytes,
    model: str = NOVA,
    name: str = f"s3://{BUCKET}/data/train.jsonl",
    read: Callable[[str, str], bytes | None] | None = fetch,
    end: bytes = b"\n",
    validation: tuple[bytes, ...] = (),
) -> LintReport:
    def file(name: str, lines: tuple[bytes, ...]) -> Lines:
        stem = name.rpartition("/")[2].partition(".")[0]
        return Lines(name, BUCKET, io.BytesIO(b"\n".join(lines) + end), stem)

    files = [file(name, lines)]
    if validation:
        files.append(file(f"s3://{BUCKET}/data/validation.jsonl", validation))
    return lint_jsonl(files, find(model), fetch=read, account=ACCOUNT, threads=2)
