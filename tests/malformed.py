"""Answers 2xx that are not AWS's: what a captive portal, a proxy or a cut connection leaves."""

from __future__ import annotations

import json
from typing import Final

MALFORMED: Final = {
    "HTML": b"<!DOCTYPE html><html><head><title>Sign in</title><body>Accept our terms<br></html>",
    "XHTML": b"<html><head/><body>Accept our terms</body></html>",
    "truncated": b'{"jobArn": "arn:aws:bedrock:us-east-1:123456789012:mod',
    "empty object": b"{}",
    "null": b"null",
    "list": b"[]",
    "empty": b"",
    "another operation": b'{"modelSummaries": [{"modelId": "amazon.nova-lite-v1:0"}], "ok": true}',
    "wrong types": json.dumps(
        {
            name: [7, None, {"status": 3}]
            for name in (
                "jobArn", "jobName", "status", "statusDetails", "modelArn", "modelDetails", "creationTime",
                "provisionedModelArn", "provisionedModelName", "provisionedModelSummaries",
                "customModelDeploymentArn", "modelDeploymentSummaries", "tags", "output", "usage",
                "PipelineArn", "PipelineExecutionArn", "PipelineExecutionSummaries", "tasks", "Entries",
                "ScheduleExpression", "ScheduleArn", "nextToken", "generation", "Messages",
            )
        }
    ).encode(),
}  # fmt: skip
