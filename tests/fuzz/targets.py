"""What reads from outside: each target takes bytes, and asserts what must hold whatever they are."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import itertools
import json
import shutil
import tarfile
import tempfile
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.dataset.world import png, row
from tests.fuzz import aws_answers, engine
from tests.fuzz.engine import Target, mutated_bytes, mutated_json, mutated_text
from tests.histories import HAPPY, after, begun, event_of, happy_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vlm_runner.core.run import Run
    from vlm_runner.dataset.source import Peek

NOW: Final = datetime(2026, 11, 27, tzinfo=UTC)
NOVA: Final = "amazon.nova-lite-v1:0:300k"
LONGEST_MESSAGE: Final = 20_000
"""Characters of an error: what is wrong, and not all of what was read."""
ROWS: Final = 40


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Within, an error that a user may meet is as good as none: documented, one sentence, not all of the data."""
    from vlm_runner.cli.exit_codes import exit_code
    from vlm_runner.errors import RowError, VlmRunnerError

    if engine.strict:
        yield
        return
    try:
        yield
    except VlmRunnerError as error:
        assert exit_code(error) not in {0, 1}, f"exits with {exit_code(error)}"
        assert error.message.strip(), "says nothing"
        assert len(str(error)) <= LONGEST_MESSAGE, "says too much"
        assert not isinstance(error, RowError) or error.field, "names no field"


def sealed(table: dict[str, Any]) -> bytes:
    import hashlib

    from vlm_runner.checkpoint.integrity import canonical

    text = canonical(table)
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f'{text[:-1]},"sha256":"{digest}"}}\n'.encode(errors="surrogatepass")


# Checkpoints.


def checkpoints() -> list[bytes]:
    from vlm_runner.checkpoint.document import Checkpoint, Holder, to_bytes

    found = []
    for run, history in happy_runs()[::3]:
        document = Checkpoint(
            write_id="w1", previous_write_id="w0", epoch=3, holder=Holder(id="h"), run=run, history=history
        )
        table = json.loads(to_bytes(document))
        del table["sha256"]
        found.append(json.dumps(table).encode())
    return found


def read_checkpoint(body: bytes) -> None:
    """As it is, and sealed as if it were ours: a checksum proves no meaning."""
    from vlm_runner.checkpoint.document import from_bytes, to_bytes
    from vlm_runner.cli.exit_codes import EXIT_CODES, run_exit_code
    from vlm_runner.cli.painting import plain
    from vlm_runner.cli.run_text import Reach, status_lines
    from vlm_runner.cli.run_view import UNFIT, CheckpointView, state_of
    from vlm_runner.core.decide import decide
    from vlm_runner.core.transitions import fold
    from vlm_runner.redact import CONTROL

    with refusing():
        from_bytes(body, where="x")
    try:
        table = json.loads(body)
        signed = sealed(table)
    except (ValueError, TypeError, RecursionError):
        return
    with contextlib.suppress(*UNFIT):
        seen = CheckpointView.from_json(table)
        lines = status_lines(seen, "here", state_of(seen, 5.0), NOW, reach=Reach())
        assert not CONTROL.search(plain(lines)), "shows what steers a terminal"
        assert run_exit_code(seen.run) in EXIT_CODES
    with refusing():
        found = from_bytes(signed, where="x")
        assert fold(found.history) == found.run, "is not what its history says"
        again = from_bytes(to_bytes(found), where="x")
        assert again == found, "is not what it was once saved"
        if not found.run.done:
            decide(found.run)


# Specs and sweeps.

SPEC: Final = f"""[dataset]
source = "data"
split = "train[:80%]"
validation_split = "validation"
columns = {{ image = "pages[0].shot", html = "html" }}
max_rows = 100
on_bad_row = "skip"
[prompt]
user = "What is wrong with {{{{ html }}}}?"
assistant = "{{% for finding in output %}}{{{{ finding.plan }}}}{{% endfor %}}"
strip = ["<image>"]
[model]
base = "{NOVA}"
[training]
role_arn = "arn:aws:iam::123456789012:role/bedrock-sft"
hyperparameters = {{ epochCount = 2, learningRate = "1e-5" }}
[storage]
bucket = "bucket"
prefix = "team/"
[serving]
mode = "provisioned"
keep = "2h"
dead_man_switch = {{ after = "6h", role_arn = "arn:aws:iam::123456789012:role/switch" }}
[test]
rows = 4
compare_base = true
metrics = ["module:name"]
[budget]
max_cost = 20.5
[events]
webhook = "https://example.com/hook"
[aws]
region = "us-east-1"
[tags]
team = "a11y"
"""
SWEEP: Final = """name = "sweep"
spec = "run.toml"
metric = "validation_loss"
patience = "2h"
[grid]
"training.hyperparameters.epochCount" = [1, 2]
"dataset.max_rows" = [10, 20]
[[runs]]
"prompt.preset" = "accessibility"
"""
TOML: Final = (
    "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "#", '"', "'", '"""', "'''", "\\", "\\u", "\\ud800",
    "inf", "nan", "-", "+1_0", "0x", "1e999", "9" * 400, "9" * 5000, "true", "2026-11-27", "07:32:00",
    "1979-05-27T07:32:00Z", "[" * 3000, "{a=" * 2000, "a." * 3000, "[dataset]", "[serving]", "[test]", "keep",
    "rows", "0s", "1h", "9999999999999d", "train[:", "%]", "[-5:]", "s3://", "arn:aws:iam::", "\u202e", "\x00",
)  # fmt: skip


def read_spec(body: bytes) -> None:
    from vlm_runner.core.intents import intend_job
    from vlm_runner.models import load_catalogue
    from vlm_runner.models.settle import settled
    from vlm_runner.preflight import spec_problems
    from vlm_runner.prompts import compile_prompt
    from vlm_runner.spec import RunSpec
    from vlm_runner.split_expression import parse_split

    with scratch() as folder, refusing():
        path = folder / "run.toml"
        path.write_bytes(body)
        spec = RunSpec.from_toml(path)
        assert RunSpec.from_table(spec.model_dump(mode="json")) == spec, "is not what it was once saved"
        assert len(spec.fingerprint) == len(spec.content) * 8 == 64
        json.dumps(spec.model_dump(mode="json"), allow_nan=False).encode()
        with refusing():
            compile_prompt(spec.prompt, spec.dataset.columns)
        for split in (spec.dataset.split, spec.dataset.validation_split):
            with contextlib.suppress(ValueError):
                for piece in parse_split(split or "train"):
                    piece.rows(100)
        catalogue = load_catalogue()
        profile = catalogue.known(spec.model.base)
        if profile is not None:
            for problem in spec_problems(spec, profile, metric_modules=()):
                assert str(problem.error), "says nothing"
            run = after(begun(), *(event_of(kind, begun()) for kind in HAPPY[:3]))
            created = run.created.model_copy(update={"spec": settled(spec, profile)})
            json.dumps(intend_job(run.model_copy(update={"created": created})).request, allow_nan=False)


def read_sweep_file(body: bytes) -> None:
    from vlm_runner.sweep.plan import read_sweep

    with scratch() as folder, refusing():
        (folder / "run.toml").write_text(SPEC)
        path = folder / "sweep.toml"
        path.write_bytes(body)
        found = read_sweep(path)
        assert found.runs
        assert all(one.spec.fingerprint for one in found.runs)


# Templates and cells.

TEMPLATES: Final = [
    b"{{ html }} {{ output[0].plan }}",
    b"{% for finding in output %}{{ loop.index }}. {{ finding.plan|hang }}\n{% endfor %}",
    b"{% turn 'user' %}{% image %}{{ html }}{% endturn %}{% turn 'assistant' %}{{ html|upper }}{% endturn %}",
    b"{% set n = namespace(x='ab') %}{% for i in range(20) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    b"{% macro m(x) %}{{ caller() if caller else x }}{% endmacro %}{% call m(3) %}{{ html }}{% endcall %}",
    b"{{ '%5d|%s'|format(3, html) }}{{ '{:>9}'.format(html) }}{{ [1, 2]|sum }}{{ html|replace('p', 'q') }}",
    b"{% filter upper %}{{ row.html|default('x') }}{% endfilter %}{% if nested.a.b is defined %}y{% endif %}",
]
JINJA: Final = (
    "{{", "}}", "{%", "%}", "{#", "#}", "-%}", "for a in html", "endfor", "recursive", "loop(", "loop.cycle(1)",
    "if", "else", "endif", "macro m(x)", "endmacro", "call m()", "endcall", "set x =", "endset", "filter center",
    "turn 'user'", "turn", "endturn", "image", "image 2", "image 10**9", "block b", "endblock", "extends 'x'",
    "include 'x'", "import 'x' as y", "with", "endwith", "raw", "endraw", "autoescape", "namespace(", "range(",
    "range(99999)", "lipsum(9999)", "cycler(1,2)", "joiner('x')", "dict(", "self", "super()", "caller()", "html",
    "output", "nested", "row", "number", "nothing", "|", "|join('x')", "|map('upper')", "|list", "|sort", "|pprint",
    "|tojson", "|xmlattr", "|indent(9999)", "|wordwrap(1)", "|batch(3)", "|slice(3)", "|groupby('a')", "|random",
    "|select", "|sum", "|unique", "|urlize", "|striptags", "|format(1)", "|int", "|float", "|round(400)", "|abs",
    "|attr('__class__')", "|truncate(3)", "|dictsort", "|items", "|first", "|last", "|max", "|reverse", "|string",
    "|forceescape", "|safe", "|title", "|trim", "|wordcount", "|filesizeformat", "|hang", "|default(1)", ".__class__",
    ".mro()", ".format(", ".join(", ".translate(", ".expandtabs(99999)", ".encode()", ".splitlines()", ".zfill(99999)",
    "*", "**", "~", "//", "%", "9" * 20, "9" * 5000, "'x'", "[1, 2]", "{'a': 1}", "()", "(", ")", "[", "]", ":", ",",
    "is divisibleby 0", "is sameas", "in", "not", "and", "1/0", "'%*d'", "'{:999999}'", "'{0.__class__}'", "\x00",
)  # fmt: skip
FIELDS: Final[dict[str, Any]] = {
    "html": "<p>é\u202e</p>" * 20,
    "output": [{"rationale": "r", "eval_items": "1.1.1", "eval_reason": "b", "plan": "p\nq"}],
    "nested": {"a": {"b": [1, None, "x"]}, "list": list(range(300))},
    "number": 2**70,
    "nothing": None,
}


def render(body: bytes) -> None:
    from vlm_runner.prompts import compile_prompt
    from vlm_runner.spec import PromptSpec

    text = body.decode(errors="replace")
    for more in ({"user": text, "assistant": "ok"}, {"turns": text}):
        with refusing():
            prompt = compile_prompt(PromptSpec.model_validate(more))
            made = prompt.render(FIELDS, images=1, subset="train", row=3)
            assert "\0image" not in made.user
            made.conversation.placed(1, image_first=True)
    compile_prompt.cache_clear()


CELLS: Final[list[Any]] = [
    [row(1)["output"]],
    [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "This."}],
    [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "This."}],
    [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "What?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "This."}]},
    ],
    {"role": ["user", "assistant"], "content": ["What?", "This."]},
    [{"answer": "yes", "answer_id": 1}, {"answer": "no", "answer_id": 2}],
    ["a caption", "another"],
    {"bytes": list(png(1)), "path": "0.png"},
    "data:image/png;base64,iVBORw0KGgo=",
    {"a": [{"b": {"c": 1}}]},
]


def read_cell(body: bytes) -> None:
    """A value of a row as findings, turns, answers, images, a place in a column, and what `init` makes of it."""
    from vlm_runner.column_path import parse
    from vlm_runner.dataset.cells import arrow_column, completed, merge_shapes, note_shape, without_bytes
    from vlm_runner.dataset.columns import findings, output_value
    from vlm_runner.dataset.images import NoImageError, images_of, named_in
    from vlm_runner.prompts import compile_prompt
    from vlm_runner.spec import Columns, PromptSpec

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = body.decode(errors="surrogateescape")
    for found in findings(value):
        assert all(isinstance(text, str) for text in found.values())
    fields = {
        "output": output_value(value),
        "messages": value,
        "html": "<p>",
        "image": value,
        "answer": value,
    }
    for preset in ("accessibility", "messages", "sharegpt", "openai-vision", "qa", "caption"):
        with refusing():
            columns = Columns(question="html", answer="answer", caption="answer", messages="messages")
            prompt = compile_prompt(PromptSpec(preset=preset), columns)
            made = prompt.render(fields, images=1, subset="train", row=3)
            made.conversation.placed(1, image_first=False)
    with contextlib.suppress(NoImageError):
        images_of(value, NoFiles())
    assert all(isinstance(path, str) for path in named_in(value))
    for place in ("image.a", "image[0]", "image[].b", "image[].content[].image_url.url", "image[-1].c"):
        if (path := parse(place, fields)) is not None:
            path.of(value)
    with contextlib.suppress(RecursionError):  # which those who read rows expect
        shape: dict[str, Any] = {}
        note_shape(value, shape)
        merge_shapes(shape, {"keys": {"a": {"text": "time"}}})
        completed(value, shape)
        without_bytes(value)
        arrow_column("x", [value, None, "text"])
    suggested(value)


def suggested(value: Any) -> None:
    from vlm_runner.cli.suggest import suggest
    from vlm_runner.dataset.source import Peek

    for rows in ([{"image": value, "text": "x"}], [{"image": "0.png", "messages": value}], [{"x": value}]):
        with refusing():
            suggest(Peek(("train",), "train", 1, tuple(rows[0]), tuple(rows)))


class NoFiles:
    def image(self, path: str) -> bytes:
        from vlm_runner.dataset.images import locate

        return bytes(locate(path, Path("/nonexistent")).is_file())

    def fetched(self, address: str) -> bytes:
        return address.encode(errors="replace")

    def stored(self, address: str, owner: str | None) -> bytes:
        return f"{address}{owner}".encode(errors="replace")


# Answers of models.

REFERENCE: Final = (
    "<thought>The picture has no text.</thought>\n<solution>\n1. Items: 1.1.1\n     Reason: Blind people get "
    "nothing.\n     Plan: Add alt.\n2. Items: 2.4.4\nReason: x\nPlan: y\n</solution>"
)
MARKS: Final = (
    "<thought>", "</thought>", "<solution>", "</solution>", "Items:", "Reason:", "Plan:", "1.", "2)", "\n", "     ",
    "9" * 5000 + ".", "{", "}", '"a":', "null", "[" * 3000, " " * 3000, "\u0660. x", "\x85", "\u2028", "ß" * 200,
    "<THOUGHT>", "1. Items: a\n" * 60, "</thought>" + " " * 500, "\ud800", "İ",
)  # fmt: skip


def judge_answer(body: bytes) -> None:
    from vlm_runner.evaluate.metrics import differences, scores
    from vlm_runner.prompts.parse import parse_answer

    answer = body.decode(errors="surrogateescape")
    parse_answer(answer)
    for reference in (REFERENCE, answer, '{"a": "b", "c": {"d": 1}}', ""):
        found = scores(reference, answer)
        assert all(0 <= value < 1e6 for value in found.values())
    pieces = differences(REFERENCE[:2000], answer[:2000])
    assert "".join(text for kind, text in pieces if kind != "missing") == answer[:2000]


STORED: Final = {
    "row": 1, "image": "s3://bucket/0.png", "more_images": [], "system": "s", "prompt": "p", "reference": REFERENCE,
    "turns": [{"role": "user", "text": "x"}], "accepted": ["y"], "answer": REFERENCE, "stop_reason": "end_turn",
    "input_tokens": 10, "output_tokens": 3, "seconds": 0.5, "error": None,
    "base": {"answer": "a", "stop_reason": "max_tokens", "input_tokens": 1, "output_tokens": 2, "seconds": 1.0},
}  # fmt: skip
BESIDE: Final = {
    "results.jsonl": {"row": 1, "tuned": {"exact": 1.0, "own": 0.5}, "base": {"exact": 0.0}},
    "thumbnails.jsonl": {"row": 1, "webp": "UklGRg==", "more": ["AAAA"]},
}


def show_report(body: bytes) -> None:
    """Lines of what a bucket holds of a run: its answers, scores, thumbnails and losses, as a page and as JSON."""
    from vlm_runner.core.names import run_folder
    from vlm_runner.models import find
    from vlm_runner.report.assemble import assemble
    from vlm_runner.report.collect import collect
    from vlm_runner.report.render import page
    from vlm_runner.testing import FakeS3
    from vlm_runner.testing.objects import FakeObjects

    run, history = _finished()
    s3 = FakeS3()
    s3.make_bucket("bucket", "123456789012")
    folder = run_folder(run)
    s3.put("bucket", "answers.jsonl", body)
    for name in BESIDE:
        s3.put("bucket", f"{folder}{name}", body)
    out = str(run.job_intent.request["outputDataConfig"]["s3Uri"]) if run.job_intent is not None else ""
    for name in ("training_artifacts/step_wise_training_metrics.csv", "validation_metrics.csv"):
        s3.put("bucket", f"{out.removeprefix('s3://bucket/')}x/{name}", body)
    objects = FakeObjects(s3, "bucket")
    material = asyncio.run(collect(run, objects))
    report = assemble(run, history, material, find(NOVA), NOW)
    json.dumps(report.facts, allow_nan=False, default=str).encode()
    whole = page([report])
    assert "<script>owned" not in whole
    whole.encode()


@cache
def _finished() -> tuple[Run, Any]:
    sections = {"test": {"rows": 2, "metrics": ["m:own"], "compare_base": True}}
    return happy_runs(sections=sections)[-1]


# Files of rows.


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="vlm-runner-fuzz-", dir=shared if shared.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_file(name: str, body: bytes, *, beside: bool = False) -> None:
    """Open `body` as the file `name`, read its rows, and render them."""
    from vlm_runner.dataset.source import open_dataset, peek
    from vlm_runner.errors import RowError
    from vlm_runner.prompts import compile_prompt
    from vlm_runner.spec import DatasetSpec, PromptSpec

    with scratch() as folder:
        data = folder / "data"
        path = data / name
        path.parent.mkdir(parents=True)
        path.write_bytes(body)
        for number in range(4):
            (path.parent / f"{number}.png").write_bytes(png(number))
        source = str(data if beside else path)
        prompts = [
            compile_prompt(PromptSpec(preset="accessibility")),
            compile_prompt(PromptSpec(user="{{ row }}", assistant="{{ html }}")),
        ]
        with refusing():
            opened = open_dataset(DatasetSpec(source=source), cache_dir=folder / "cache", required=())
            for found in itertools.islice(opened.train.scan(), ROWS):
                if isinstance(found, RowError):
                    with refusing():
                        raise found
                    continue
                for prompt in prompts:
                    prompt.attempt(found.fields, len(found.images))
        with refusing():
            looked: Peek = peek(DatasetSpec(source=source), 3, cache_dir=folder / "cache")
            assert len(looked.rows) <= 3


def read_saved(body: bytes) -> None:
    """The description beside a saved dataset, or the card of a copy from the Hub."""
    from vlm_runner.dataset.source import open_dataset
    from vlm_runner.spec import DatasetSpec

    for name in ("state.json", "dataset_info.json", "README.md"):
        with scratch() as folder, refusing():
            data = folder / "data"
            shutil.copytree(_saved(), data)
            if name == "README.md":
                (data / "state.json").unlink()
                (data / "data-00000-of-00001.arrow").rename(data / "train.arrow")
            (data / name).write_bytes(body)
            opened = open_dataset(DatasetSpec(source=str(data)), cache_dir=folder / "cache", required=())
            list(itertools.islice(opened.train.scan(), ROWS))


YAML: Final = (
    "---", "configs:", "- config_name: default", "  data_files:", "  - split: train", "    path: ", "train.arrow",
    "data_dir: ", "../", "/etc/passwd", "http://localhost/x", "hf://datasets/a/b", "zip://x::", "*", "**", "[", "]", "{",
    "}", "&a ", "*a", "<<: ", "!!python/object:os.system ", "? ", ": ", "- ", "dataset_info:", "features:", "dtype: image",
    "\t", "  ", "null", "9" * 5000, "2026-02-30", "\u2028",
)  # fmt: skip


@cache
def _saved() -> Path:
    import atexit

    from datasets import Dataset

    folder = Path(tempfile.mkdtemp(prefix="vlm-runner-saved-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Dataset.from_list([row(number) for number in range(3)]).save_to_disk(folder / "saved", num_proc=None)
    return folder / "saved"


def descriptions() -> list[bytes]:
    card = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.arrow\n"
        "dataset_info:\n  features:\n  - name: html\n    dtype: string\n---\n# Pages\n"
    )
    return [card.encode(), *((_saved() / name).read_bytes() for name in ("state.json", "dataset_info.json"))]


@cache
def table() -> Any:
    import pyarrow as pa

    rows = [row(number) | {"when": NOW, "score": 0.5, "tags": ["a", None], "label": 1} for number in range(4)]
    return pa.Table.from_pylist(rows)


def metadata_parquets() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"file_name": [f"{n}.png" for n in range(4)], "html": ["<p>"] * 4}), sink)
    return [sink.getvalue()]


def parquets() -> list[bytes]:
    import pyarrow.parquet as pq

    found = []
    options: list[dict[str, Any]] = [
        {},
        {"compression": "zstd", "row_group_size": 2},
        {"use_dictionary": False},
    ]
    for more in options:
        sink = io.BytesIO()
        pq.write_table(table(), sink, **more)
        found.append(sink.getvalue())
    return found


def arrows() -> list[bytes]:
    import pyarrow as pa

    found = []
    for new, compression in ((pa.ipc.new_file, None), (pa.ipc.new_stream, None), (pa.ipc.new_file, "zstd")):
        sink = io.BytesIO()
        with new(sink, table().schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table())
        found.append(sink.getvalue())
    return found


def lines_of_json() -> bytes:
    rows = [{"image": f"{n}.png", "html": f"<p>{n}", "output": [{"plan": "x"}], "n": n} for n in range(4)]
    return "".join(f"{json.dumps(each)}\n" for each in rows).encode()


def tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for number in range(3):
            for ending, body in (
                ("png", png(number)),
                ("html", b"<p>"),
                ("json", b'{"plan": "x"}'),
                ("cls", b"3"),
            ):
                info = tarfile.TarInfo(f"{number}.{ending}")
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
    return sink.getvalue()


def zstd(body: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.compress(body, codec="zstd", asbytes=True))


CSV: Final = b'image,html,output\n0.png,"<p>a, ""b""</p>",x\n1.png,<p>,"y\nz"\n'
CELL_WORDS: Final = (
    ",",
    ";",
    "\t",
    '"',
    '""',
    "\r",
    "\r\n",
    "\n",
    "\x00",
    "image",
    "html",
    "\ufeff",
    "x" * 300,
    "\x85",
)


def packed(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes], inner: Any) -> Any:
    """Half of the time what is inside is mutated, and packed again."""
    outer = mutated_bytes()

    def mutate(body: bytes, chance: Any) -> bytes:
        if chance.random() < 0.5:
            with contextlib.suppress(Exception):
                return pack(inner(unpack(body), chance))
        return outer(body, chance)

    return mutate


def unzstd(body: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.CompressedInputStream(io.BytesIO(body), "zstd").read())


# Records of Bedrock, recordings, tags.

RECORD: Final = {
    "schemaVersion": "bedrock-conversation-2024",
    "system": [{"text": "You judge pages."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": "What is wrong?"},
                {
                    "image": {
                        "format": "png",
                        "source": {"s3Location": {"uri": "s3://bucket/0.png", "bucketOwner": "123456789012"}},
                    }
                },
            ],
        },
        {"role": "assistant", "content": [{"text": "Nothing."}]},
    ],
}


def lint_records(body: bytes) -> None:
    from vlm_runner.lint.jsonl import Lines, lint_jsonl
    from vlm_runner.models import find

    for base in (NOVA, "meta.llama3-2-11b-instruct-v1:0:128k"):
        lines = Lines("train.jsonl", None, io.BytesIO(body), "train")
        report = lint_jsonl([lines], find(base), fetch=lambda *_: png(1), account="123456789012", threads=1)
        json.dumps(report.as_json()).encode()
        for finding in report.findings:
            assert finding.message, "says nothing"
            assert finding.fix, "names no remedy"
            assert len(finding.message) < LONGEST_MESSAGE, "says too much"


EXCHANGES: Final = [
    {"kind": "vlm-runner recording", "format": 1, "date": "2026-11-27", "region": "us-east-1", "versions": {}, "given": {}},
    {
        "probe": "caller", "level": 0, "seconds": 0.1, "service": "sts", "operation": "GetCallerIdentity",
        "request": {}, "status": 200, "code": None, "message": None, "answer": {"Account": "123456789012"},
    },
    {
        "probe": "smallest-run", "level": 3, "seconds": 1, "service": "bedrock", "operation": "GetModelCustomizationJob",
        "request": {"jobIdentifier": "job-1"}, "status": 200, "code": None, "message": None,
        "answer": {"jobArn": "arn-1", "status": "InProgress", "trainingMetrics": {"trainingLoss": 0.5}},
    },
    {
        "probe": "price", "level": 0, "seconds": 1, "service": "pricing", "operation": "GetProducts",
        "request": {}, "status": 200, "code": None, "message": None,
        "answer": {"PriceList": ['{"terms": {"OnDemand": {"a": {"priceDimensions": {"b": {"pricePerUnit": {"USD": "1"}}}}}}}']},
    },
    {
        "probe": "quota", "level": 0, "seconds": 1, "service": "service-quotas", "operation": "GetServiceQuota",
        "request": {}, "status": 400, "code": "NoSuchResourceException", "message": "No", "answer": {},
    },
]  # fmt: skip


def read_recording(body: bytes) -> None:
    from vlm_runner.verify.compare import shape_differences
    from vlm_runner.verify.kit import table
    from vlm_runner.verify.recording import read

    with scratch() as folder, refusing():
        path = folder / "recording.jsonl"
        path.write_bytes(body)
        _, exchanges = read(path)
        table(exchanges, range(5))
        list(shape_differences(exchanges, exchanges))
        assert all(exchange.brief for exchange in exchanges)


TAGGED: Final = {
    "name": "vr-cats-000000000000-serve",
    "status": "InService",
    "model": "arn:aws:bedrock:us-east-1:123456789012:custom-model/x",
    "tags": {
        "vlm-runner:run-uid": "0" * 32,
        "vlm-runner:run-id": "cats",
        "vlm-runner:expires": "2026-11-27T00:00:00Z",
    },
    "at": "2026-11-27T00:00:00+00:00",
}


def reap_tagged(body: bytes) -> None:
    """An endpoint with tags as anybody may write them, beside one that has outlived its run."""
    from datetime import timedelta

    from vlm_runner.models import load_catalogue
    from vlm_runner.reap import find_rented, may_still_bill, reap
    from vlm_runner.testing import FakeClock, run_virtual
    from vlm_runner.testing.store import MemoryStore
    from vlm_runner.testing.world import FakeAws

    try:
        odd = json.loads(body)
        if not isinstance(odd, dict) or not isinstance(odd.get("tags"), dict):
            return
        name, tags = str(odd.get("name")), {str(key): str(value) for key, value in odd["tags"].items()}
    except (ValueError, RecursionError):
        return

    async def main() -> None:
        aws = FakeAws()
        for arn, given in (("arn:odd", tags), ("arn:sound", TAGGED["tags"])):
            made = _endpoint(aws, arn, name if arn == "arn:odd" else str(TAGGED["name"]))
            made.tags = given
        with refusing():
            found = await find_rented(
                aws, MemoryStore(), FakeClock(), load_catalogue(), older_than=timedelta(seconds=1)
            )
            done = await reap(aws, found)
            sound = [one for one in found if one.rented.arn == "arn:sound"]
            assert sound, "passes over another endpoint"
            assert sound[0].verdict.outlived or not sound[0].verdict.explained
            assert all(one.gone or one in may_still_bill(done) or one.verdict.explained for one in done)

    run_virtual(main)


def _endpoint(aws: Any, arn: str, name: str) -> Any:
    from vlm_runner.testing.bedrock import _Endpoint

    made = aws.bedrock._endpoints[arn] = _Endpoint(
        "provisioned-model", name, arn, 0.0, request={"modelId": "m"}, tags={}
    )
    return made


# Images: what no decoder is needed for.


def inspect_image(body: bytes) -> None:
    from vlm_runner.ingest.images import ANY_SIZE, examine
    from vlm_runner.ingest.inspect import ImageDefect

    try:
        facts = examine(body, ANY_SIZE, keep_format=True, fit=False).facts
    except ImageDefect as flaw:
        assert str(flaw)
        assert len(str(flaw)) < LONGEST_MESSAGE
        assert flaw.hint
        return
    assert facts.width >= 1
    assert facts.height >= 1


def shrink(body: bytes) -> None:
    """What a report shows of an image that lies in the bucket."""
    from vlm_runner.evaluate.thumbnail import thumbnail

    made = thumbnail(body, 4096)
    assert made is None or (made.startswith(b"RIFF") and made[8:12] == b"WEBP" and len(made) <= 4096)


def inspect_image_ends(body: bytes) -> None:
    """Of an image that stays in S3 only the ends are read; what they say, they say of nothing impossible."""
    from vlm_runner.ingest.inspect import inspect_ends

    head = body[: max(1, len(body) // 2)]
    facts = inspect_ends(head, body[-12:], max(len(body), len(head) + 1))
    if facts is not None:
        assert facts.width >= 1
        assert facts.height >= 1
        assert facts.data == ()


def pictures() -> list[bytes]:
    from tests.ingest.pictures import SOURCES

    return [body for body in SOURCES.values() if len(body) < 20_000]


EXPRESSIONS: Final = [
    b"train",
    b"train[:10%]+validation[100:200]",
    b"pages[0].shot",
    b"2h 30m",
    b"messages[].content[].image",
]


def read_expression(body: bytes) -> None:
    """Split expressions, places in columns, durations: what options and specs hold beside tables."""
    from vlm_runner.column_path import parse
    from vlm_runner.path_segment import is_path_segment
    from vlm_runner.redact import CONTROL, one_line, redacted
    from vlm_runner.spec import seconds_of
    from vlm_runner.split_expression import parse_split, plain_name

    text = body.decode(errors="surrogateescape")
    with contextlib.suppress(ValueError):
        for piece in parse_split(text):
            rows = piece.rows(1000)
            assert 0 <= rows.start <= rows.stop <= 1000
        assert is_path_segment(plain_name(text))
    if (path := parse(text, ["messages", "pages"])) is not None:
        path.of([{"content": [{"image": 1}], "shot": None}])
    with contextlib.suppress(ValueError):
        assert 0 <= seconds_of(text) < float("inf")
    redacted(text)
    assert not CONTROL.search(one_line(text, 100))


BYTES: Final = mutated_bytes()

TARGETS: Final = (
    Target("aws", aws_answers.read_answer, aws_answers.seeds,
           mutated_json("InService", "Completed", 503, 403, 400, 301, 204, "gzip", "ThrottlingException", "arn:aws:x:::y"),
           plain=False),
    Target("checkpoint", read_checkpoint, checkpoints, mutated_json("done", "kept", "Completed", 99, "w0"),
           plain=False),
    Target("spec", read_spec, lambda: [SPEC.encode()], mutated_text(*TOML)),
    Target("sweep", read_sweep_file, lambda: [SWEEP.encode()], mutated_text(*TOML)),
    Target("template", render, lambda: TEMPLATES, mutated_text(*JINJA), seconds=60, memory=600,
           plain=False),
    Target("cell", read_cell, lambda: [json.dumps(cell).encode() for cell in CELLS],
           mutated_json("user", "assistant", "<image>", "image", "data:image/png;base64,AAAA", "file:///etc/passwd"),
           plain=False),
    Target("answer", judge_answer, lambda: [REFERENCE.encode(), b'{"a": "b"}', b"plain"], mutated_text(*MARKS)),
    Target("report", show_report,
           lambda: [b"\n".join(json.dumps(each).encode() for each in (STORED, *BESIDE.values())),
                    b"step_number,epoch_number,training_loss,validation_loss\n1,0,0.5,0.6\n2,0,0.4,nan\n3,0,1e308,-1e308\n4,1e999,-1e308,1e308\n",
                    json.dumps(STORED | {"seconds": 1e308, "input_tokens": 10**400, "row": 10**30}).encode()],
           mutated_json(lines=True)),
    # A page says its own size, up to 2 GiB, and pyarrow makes room for it: LimitedMemory is what bounds that.
    Target("parquet", partial(read_file, "train.parquet"), parquets, BYTES, memory=2048),
    Target("arrow", partial(read_file, "train.arrow"), arrows, BYTES),
    Target("saved", read_saved, descriptions, mutated_json("ClassLabel", "Value", "../x", "Image", "int64"),
           plain=False),
    Target("card", read_saved, lambda: descriptions()[:1], mutated_text(*YAML), plain=False),
    Target("jsonl", partial(read_file, "train.jsonl"), lambda: [lines_of_json()], mutated_json(lines=True)),
    Target("json", partial(read_file, "train.json"),
           lambda: [json.dumps([json.loads(line) for line in lines_of_json().splitlines()]).encode()], mutated_json()),
    Target("metadata", partial(read_file, "metadata.jsonl", beside=True),
           lambda: [lines_of_json().replace(b'"image"', b'"file_name"')],
           mutated_json("file_name", "file_names", "page_file_name", "0.png", lines=True)),
    Target("metadata-parquet", partial(read_file, "metadata.parquet", beside=True), metadata_parquets, BYTES, memory=2048),
    Target("csv", partial(read_file, "train.csv"), lambda: [CSV], mutated_text(*CELL_WORDS)),
    Target("tar", partial(read_file, "train.tar"), lambda: [tar()], BYTES),
    Target("gz", partial(read_file, "train.jsonl.gz"), lambda: [gzip.compress(lines_of_json())],
           packed(gzip.compress, gzip.decompress, mutated_json(lines=True))),
    Target("zst", partial(read_file, "train.csv.zst"), lambda: [zstd(CSV)],
           packed(zstd, unzstd, mutated_text(*CELL_WORDS))),
    Target("arrow-gz", partial(read_file, "train.arrow.gz"), lambda: [gzip.compress(arrows()[0])],
           packed(gzip.compress, gzip.decompress, BYTES)),
    Target("records", lint_records, lambda: [f"{json.dumps(RECORD)}\n".encode() * 3],
           mutated_json("user", "assistant", "jpeg", "s3://bucket/0.png", "bedrock-conversation-2024", lines=True)),
    Target("recording", read_recording, lambda: [b"".join(f"{json.dumps(each)}\n".encode() for each in EXCHANGES)],
           mutated_json(lines=True)),
    Target("tags", reap_tagged, lambda: [json.dumps(TAGGED).encode()], mutated_json("a b/../c", "cats", "vr-")),
    Target("image-ends", inspect_image_ends, pictures, mutated_bytes(b"IHDR", b"IDAT", b"eXIf", b"VP8X", b"IEND")),
    Target("image", inspect_image, pictures, mutated_bytes(b"IHDR", b"IDAT", b"zTXt", b"eXIf", b"Exif\0\0", b"VP8X")),
    Target("thumbnail", shrink, pictures, mutated_bytes(b"IHDR", b"IDAT", b"eXIf", b"VP8X", b"GIF89a", b"%!PS-Adobe"),
           memory=800),
    Target("expression", read_expression, lambda: EXPRESSIONS,
           mutated_text("[", "]", ":", "%", "+", "-", ".", "0", "9" * 30, "9" * 5000, "s", "d", "\u0665", " ", "\n")),
)  # fmt: skip
BY_NAME: Final = {target.name: target for target in TARGETS}
