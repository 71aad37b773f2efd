"""What leaves for a tracker, and that nothing else does."""

from __future__ import annotations

from tests.report.runs import LLAMA, report
from vlm_runner.track import tracked_run

SECRET = "AKIAIOSFODNN7EXAMPLE"


def test_a_tracker_is_told_of_data_settings_losses_scores_and_answers() -> None:
    run = tracked_run(report(8))

    assert (run.run_id, run.outcome, run.uid) == ("pages-1", "succeeded", "0" * 32)
    assert run.params["dataset.fingerprint"] == "f" * 64
    assert run.params["model.base"] == LLAMA
    assert run.params["training.hyperparameters.epochCount"] == "2"
    assert run.tags["model_arn"].endswith("custom-model/x/y")
    assert [step for step, _ in run.training] == [*range(60)]
    assert run.validation == ((29, 0.9), (59, 0.6))
    assert run.scores["tuned/sections"] == 1.0
    assert run.scores["base/sections"] == 0.0
    assert run.scores["change/findings.f1.low"] > 0
    assert run.answers[1].tuned == run.answers[1].reference != run.answers[1].base
    assert "Better than the base model" in run.note


def test_secrets_and_webhooks_stay_here() -> None:
    run = tracked_run(
        report(
            1,
            text=SECRET,
            dataset={"source": f"s3://{SECRET}/pages"},
            events={"webhook": "https://example.com/hook-secret"},
        )
    )
    said = repr((run.params, run.tags, run.scores, run.answers, run.note))

    assert SECRET not in said
    assert "hook-secret" not in said
    assert "[redacted]" in said
