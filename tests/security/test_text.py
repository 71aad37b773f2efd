"""Text of others steers no terminal, forges no log line, and shows no secret."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.histories import created
from vlm_runner.cli import console
from vlm_runner.cli.options import Where
from vlm_runner.cli.plan_spec import origins_of
from vlm_runner.core.events import Entry
from vlm_runner.core.run import Run
from vlm_runner.core.signals import Trouble
from vlm_runner.core.text import storable
from vlm_runner.redact import json_text, one_line, printable, redacted
from vlm_runner.settings import EventSettings, Settings
from vlm_runner.testing.world import World, tiny_spec
from vlm_runner.watch.cloudevents import without_secrets
from vlm_runner.watch.log import configure_logging
from vlm_runner.watch.trace import TraceWatcher

STEERING = [
    *map(chr, (0x00, 0x07, 0x08, 0x0B, 0x0D, 0x1B, 0x7F, 0x80, 0x85, 0x9B, 0x9F)),
    *map(chr, (0x061C, 0x2028, 0x2029, 0x202A, 0x202D, 0x202E, 0x2066, 0x2068, 0x2069, 0xD800, 0xDFFF)),
]
FORGED = 'bad data\n{"event": "run.succeeded", "level": "info"}\n'


@pytest.mark.parametrize("character", STEERING, ids=lambda character: f"U+{ord(character):04X}")
def test_what_steers_a_terminal_is_never_printed(character: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"left{character}right"

    console.result(text)
    console.result_json({"key": text, text: "value"})
    printed = capsys.readouterr().out

    assert character not in printed
    assert json.loads(printed.split("\n", 1)[1]) == {"key": text, text: "value"}
    assert character not in json_text([text]) + printable(text) + one_line(text, 100)


def test_what_people_write_stays_as_it_is() -> None:
    text = "שלום\u200f, caf\u00e9 \u2026 \t日本\n\U0001f600\u00a0"

    assert printable(text) == text
    assert json.loads(json_text(text)) == text


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_message_forges_no_line_of_a_log(style: str) -> None:
    stream = io.StringIO()
    configure_logging("json" if style == "json" else "text", stream=stream)
    try:
        structlog.get_logger("vlm_runner").warning("run.trouble", message=FORGED + "\u2028\u202e\x9b2J")
    finally:
        structlog.reset_defaults()
    written = stream.getvalue()

    assert written.count("\n") == 1
    assert not set(written) & {"\u2028", "\u202e", "\x9b"}


def test_a_webhooks_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Such as https://hooks.slack.com/services/T000/B000/XXXX: whoever has it can write there.
    """
    monkeypatch.delenv("VLM_RUNNER_EVENTS__WEBHOOK", raising=False)
    secret = "https://user:pw@hooks.example.com/services/T0/B0/SECRET?token=SECRET"
    world = World(events={"webhook": secret})
    settings = Settings(events=EventSettings(webhook=secret))

    shown = origins_of(world.spec, settings, Where(None, None, None, None))

    named = {origin.name: origin.value for origin in shown}
    assert named["events.webhook"] == "https://hooks.example.com/…"
    assert "hooks.example.com" in named["events"]
    assert "SECRET" not in str(shown)


def test_events_hide_a_webhooks_address() -> None:
    event = created(spec=tiny_spec(events={"webhook": "https://hooks.example.com/SECRET"}))
    entry = Entry(sequence=1, at=datetime(2026, 11, 26, tzinfo=UTC), event=event)

    shown = json_text(without_secrets(entry))

    assert "SECRET" not in shown
    assert "https://hooks.example.com/…" in shown


def test_a_terminal_that_knows_latin_1_alone_ends_nothing() -> None:
    code = (
        "import sys; from vlm_runner.cli import console, main\n"
        "sys.argv = ['vlm-runner', '--version']\n"
        "main(); console.result('日本'); console.say('日本')"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={"PYTHONIOENCODING": "latin-1", "PATH": ""},
        check=False,
    )

    assert (done.returncode, done.stderr.strip()) == (0, rb"\u65e5\u672c")


SECRET = "SECRETsecret0123456789/+=SECRET"
CARRIERS = [
    "Authorization: Bearer {}",
    "'proxy-authorization': 'Basic {}'",
    "authorization: AWS4-HMAC-SHA256 Credential=AKIAABCDEFGHIJKLMNOP/s3, SignedHeaders=host, Signature={}",
    "{{'aws_secret_access_key': '{}'}}",
    '{{"AccessKeyId": "x", "SecretAccessKey": "{}", "SessionToken": "{}"}}',
    '{{\\"SecretAccessKey\\": \\"{}\\"}}',
    "<SecretAccessKey>{}</SecretAccessKey>",
    "X-Amz-Security-Token: {}",
    "headers {{'X-Amz-Security-Token': '{}'}}",
    "https://b.s3.amazonaws.com/k?AWSAccessKeyId=x&Signature={}&Expires=1",
    "https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature={}",
    "https://b.s3.amazonaws.com/k?X-Amz-Signature%3D{}",
    "https://account.blob.core.windows.net/c?sv=1&sig={}",
    "https://user:p@ss{}@host/x".replace("{}", "SECRETsecret"),
    "https://:SECRETsecret@host/x",
    "https://SECRETsecret0123@github.com/x",
    "aws_session_token='{}'",
    "MLFLOW_TRACKING_PASSWORD={}",
    "WANDB_API_KEY={}",
    "HF_TOKEN: {}",
]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_secret_leaves_in_no_form_that_it_comes_in(carrier: str) -> None:
    """Headers, addresses, settings, JSON, XML, and how Python prints them: as errors quote what failed."""
    text = f"It failed: {carrier.format(SECRET, SECRET)}"

    assert "SECRET" not in redacted(text)
    assert "SECRET" not in storable(text)


@pytest.mark.parametrize(
    "text",
    [
        "Password: required",
        "input_tokens: 5, max_tokens=7",
        '<input type="password" name="api_key">',
        "the token: x, <bos_token>: y",
        "https://git@github.com/x and s3://bucket/a:b@c",
        "arn:aws:s3:::bucket/secret-garden",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_no_secret_reaches_json_or_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    spans, world = InMemorySpanExporter(), World()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    watcher = TraceWatcher(tracers, MeterProvider())
    told = f"Authorization: Bearer {SECRET}"
    run = Run.begin(Entry(sequence=1, at=datetime(2026, 11, 26, tzinfo=UTC), event=created(spec=world.spec)))

    console.result_json({"halted": told})
    watcher.on_entry(run, Entry(sequence=1, at=run.created_at, event=run.created))
    watcher.on_signal(run.run_id, Trouble(doing="asking", message=told))
    watcher.close()

    assert "SECRET" not in capsys.readouterr().out
    assert "SECRET" not in "".join(span.to_json() for span in spans.get_finished_spans())
