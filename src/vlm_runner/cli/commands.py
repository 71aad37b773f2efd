"""The commands by what they are for: the table that help, completion and reference are made of."""

from __future__ import annotations

from typing import Final

from vlm_runner.cli.lazy_group import LazyCommand

_SECTIONS: Final = {
    "Start here": (
        ("demo", "demo:demo", "Run the whole job in a local sandbox: no AWS account, no cost."),
        ("init", "write_spec:init", "Write a commented spec for Amazon Nova Lite."),
        ("lint", "lint:lint", "Check every row of SPEC's dataset, or of a Bedrock JSONL file."),
        ("preview", "preview:preview", "Show one row as the model will see it, with its lint findings."),
        ("doctor", "doctor:doctor", "Check credentials, model, role, bucket, quotas and store."),
        ("plan", "plan:plan", "Show what SPEC would create and cost; runs lint and doctor."),
        ("start", "start:start", "Run SPEC and show its progress; resume the run if it exists."),
        ("resume", "start:resume", "Continue RUN, on any machine that reaches its checkpoint."),
        ("cancel", "start:cancel", "Stop what RUN pays for, delete it, and report."),
    ),
    "Use": (
        ("serve", "serve:serve", "Serve the model of a finished RUN again."),
        ("release", "release:release", "Delete the endpoint that RUN was asked to keep."),
        ("ask", "ask:ask", "Ask the model of RUN one question, while it is served."),
        (
            "models",
            "models:models",
            "List the models that runs trained: scores, age, use, storage.",
        ),
        ("keep", "models:keep", "Keep the model of RUN: neither reap nor delete removes it."),
        (
            "delete",
            "models:delete",
            "Delete RUN: endpoint, model, answers, data that only it uses.",
        ),
    ),
    "Watch": (
        ("status", "status:status", "Show the state of RUN."),
        (
            "list",
            "list_runs:list_runs",
            "List the runs of a store: state, phase, cost, what may bill.",
        ),
        ("watch", "watch:watch", "Follow RUN in the terminal or in a browser."),
        ("events", "events:events", "Print RUN's history as JSON lines, one event a line."),
        ("report", "report:report", "Write an HTML page about RUN, or compare several runs."),
        ("track", "track:track", "Log RUN to MLflow, W&B or TensorBoard."),
    ),
    "Money": (
        ("prices", "prices:prices", "Show what MODEL costs, with source and date."),
        ("cost", "cost:cost", "Show what AWS billed for RUN; each query costs one cent."),
        ("reap", "reap:reap", "Delete endpoints of vlm-runner that outlived their run."),
    ),
    "Operate": (
        ("iam", "iam:iam", "Print the IAM policies that SPEC needs."),
        ("verify", "verify:verify", "Prove on your own account what vlm-runner assumes of AWS."),
        ("submit", "submit:submit", "Check SPEC, save the run, and drive it in an ECS task."),
        ("stage", "stage:stage", "Upload this machine's share of RUN's images."),
        ("sagemaker", "sagemaker:sagemaker", "Run a spec as a SageMaker Pipeline."),
        ("sweep", "sweep:sweep", "Run every combination of SWEEP, and compare them."),
        ("sandbox", "sandbox:sandbox", "Simulate AWS on your machine, with a clock that can run faster."),
        (
            "completion",
            "completion:completion",
            "Print the completion script for bash, zsh or fish.",
        ),
        ("health", "health:health", "Check the heartbeat of a runner on this machine."),
    ),
}
"""By what commands are for: name, place, and summary, which a test compares with the command's own help."""
SECTIONS: Final = {
    title: {name: LazyCommand(f"vlm_runner.cli.{path}", summary) for name, path, summary in commands}
    for title, commands in _SECTIONS.items()
}
COMMANDS: Final = {name: command for section in SECTIONS.values() for name, command in section.items()}
