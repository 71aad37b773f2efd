"""OpenTelemetry: a trace for a run, a span for a phase."""

from __future__ import annotations

import pytest

from vlm_runner.testing import FakeBedrock, World

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from vlm_runner.watch.trace import RUN_ID, TraceWatcher


async def traced(world: World) -> tuple[InMemorySpanExporter, InMemoryMetricReader]:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    watcher = TraceWatcher(tracers, meters)
    world.on_entry = watcher.on_entry  # type: ignore[method-assign]
    world.on_signal = watcher.on_signal  # type: ignore[method-assign]
    await world.live()
    watcher.close()
    return spans, reader


async def test_a_run_is_one_trace_with_a_span_for_each_phase() -> None:
    spans, _ = await traced(World())
    found = spans.get_finished_spans()
    root = next(span for span in found if span.name == "vlm_runner.run")

    assert [span.name.removeprefix("vlm_runner.") for span in found][:-1] == [
        "staging",
        "recording",
        "submitting",
        "training",
        "requesting",
        "warming",
        "testing",
        "releasing",
        "reporting",
    ]
    assert {span.context.trace_id for span in found if span.context} == {
        root.context.trace_id if root.context else 0
    }
    assert all(span.attributes and span.attributes[RUN_ID] == "cats" for span in found)


async def test_a_run_that_failed_is_an_error() -> None:
    spans, _ = await traced(World(bedrock=FakeBedrock(job_ends="Failed")))
    root = spans.get_finished_spans()[-1]

    assert not root.status.is_ok


async def test_what_is_counted() -> None:
    _, reader = await traced(World())
    data = reader.get_metrics_data()
    assert data is not None
    names = {m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}

    assert {
        "vlm_runner.entries",
        "vlm_runner.images.uploaded",
        "vlm_runner.loss",
        "vlm_runner.test.tokens",
    } <= names
