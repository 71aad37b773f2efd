"""
OpenTelemetry: one trace for each run in each process, a span for each phase, and a few metrics.

A trace does not survive a process; what belongs together is found by the attribute `vlm_runner.run_id`. Where
it all goes is said by the standard OTEL_ variables.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from vlm_runner.core.events import ImagesStaged, JobCompleted, TestsAnswered
from vlm_runner.core.signals import RemoteStatusChanged, Trouble
from vlm_runner.redact import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal

RUN_ID = "vlm_runner.run_id"


class _Spans:
    def __init__(self, root: Span, phase: Span, name: str) -> None:
        self.root, self.phase, self.name = root, phase, name


class TraceWatcher:
    """
    A watcher; the providers default to the process's own. `close` ends the spans of runs that are not done.
    """

    def __init__(self, tracers: TracerProvider | None = None, meters: MeterProvider | None = None) -> None:
        self._tracer = trace.get_tracer("vlm_runner", tracer_provider=tracers)
        meter = metrics.get_meter("vlm_runner", meter_provider=meters)
        self._entries = meter.create_counter("vlm_runner.entries", "1", "Facts saved")
        self._images = meter.create_counter("vlm_runner.images.uploaded", "1", "Images sent to S3")
        self._bytes = meter.create_counter("vlm_runner.images.bytes", "By", "Bytes of images sent to S3")
        self._tokens = meter.create_counter("vlm_runner.test.tokens", "1", "Tokens of test calls")
        self._loss = meter.create_gauge("vlm_runner.loss", "1", "Loss when training ended")
        self._troubles = meter.create_counter("vlm_runner.troubles", "1", "Errors that were retried")
        self._runs: dict[str, _Spans] = {}

    def on_entry(self, run: Run, entry: Entry) -> None:
        attributes = {RUN_ID: run.run_id}
        event = entry.event
        self._entries.add(1, {**attributes, "kind": event.kind})
        spans = self._runs.get(run.run_id) or self._begin(run)
        spans.phase.add_event(event.kind, {"sequence": entry.sequence})
        match event:
            case ImagesStaged(train=train, validation=validation):
                for subset in (train, validation):
                    if subset is not None:
                        self._images.add(subset.images_uploaded, attributes)
                        self._bytes.add(subset.bytes_uploaded, attributes)
            case JobCompleted(training_loss=training, validation_loss=held_out):
                for name, loss in (("training", training), ("validation", held_out)):
                    if loss is not None:
                        self._loss.set(loss, {**attributes, "of": name})
            case TestsAnswered(input_tokens=given, output_tokens=got):
                self._tokens.add(given, {**attributes, "direction": "in"})
                self._tokens.add(got, {**attributes, "direction": "out"})
            case _:
                pass
        if run.done:
            self._end(run)
        elif spans.name != run.phase.value:
            spans.phase.end()
            spans.name = run.phase.value
            spans.phase = self._phase(run, spans.root)

    def on_signal(self, run_id: str, signal: Signal) -> None:
        spans = self._runs.get(run_id)
        match signal:
            case Trouble(doing=doing, message=message):
                self._troubles.add(1, {RUN_ID: run_id})
                if spans is not None:
                    spans.phase.add_event("trouble", {"doing": doing, "message": redacted(message)})
            case RemoteStatusChanged(what=what, status=status):
                if spans is not None:
                    spans.phase.add_event("remote_status", {"what": what, "status": status})
            case _:
                pass

    def close(self) -> None:
        for spans in self._runs.values():
            spans.phase.end()
            spans.root.end()
        self._runs.clear()

    def _begin(self, run: Run) -> _Spans:
        attributes: dict[str, Any] = {
            RUN_ID: run.run_id,
            "vlm_runner.uid": run.uid,
            "vlm_runner.base_model": run.spec.model.base,
            "cloud.region": run.region,
            "cloud.account.id": run.account,
        }
        root = self._tracer.start_span("vlm_runner.run", attributes=attributes)
        spans = self._runs[run.run_id] = _Spans(root, self._phase(run, root), run.phase.value)
        return spans

    def _phase(self, run: Run, root: Span) -> Span:
        return self._tracer.start_span(
            f"vlm_runner.{run.phase.value}", set_span_in_context(root), attributes={RUN_ID: run.run_id}
        )

    def _end(self, run: Run) -> None:
        spans = self._runs.pop(run.run_id)
        outcome = run.outcome.value if run.outcome is not None else ""
        spans.root.set_attribute("vlm_runner.outcome", outcome)
        if run.reason is not None:
            spans.root.set_status(Status(StatusCode.ERROR, redacted(run.reason)))
        spans.phase.end()
        spans.root.end()


@contextmanager
def exported() -> Iterator[TraceWatcher]:
    """A watcher that exports by OTLP over HTTP, set up as the OTEL_ variables say; for the command line."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    # Resource.create lets OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES overrule it.
    resource = Resource.create({"service.name": "vlm-runner"})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
    watcher = TraceWatcher(tracers, meters)
    try:
        yield watcher
    finally:
        watcher.close()
        tracers.shutdown()
        meters.shutdown()
