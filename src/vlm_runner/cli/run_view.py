"""
A run as `status` shows it.

A local checkpoint is read into this view as plain JSON: importing pydantic and building the models takes
longer than all else that `status` does (benchmarks/RESULTS.md). The rules are those of `Run`: see
`vlm_runner.core.outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from vlm_runner import environment
from vlm_runner.checkpoint.integrity import read_file, refuse_another, verified
from vlm_runner.checkpoint.process_identity import ProcessIdentity, is_dead
from vlm_runner.core.outcome import Outcome, billing_possible, job_failure_reason, outcome_of
from vlm_runner.core.phases import Phase, Route, route_of
from vlm_runner.core.text import LONGEST_REASON
from vlm_runner.core.timeline import PhaseSpan, phase_spans
from vlm_runner.dollars import about, dollars, spent_and_left
from vlm_runner.errors import CheckpointError, RunNotFound
from vlm_runner.path_segment import checked_run_id
from vlm_runner.paths import STATE, default_checkpoint_folder, run_folder
from vlm_runner.redact import one_line

if TYPE_CHECKING:
    from types import UnionType

    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.core.run import Run

LEAST_SILENCE = 5.0
"""Seconds: `LeaseSettings.time_to_live` cannot be less, so no run is STALE sooner."""


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """The tuned model's answer to the first test row."""

    row: int
    answer: str
    held_out: bool

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    run_id: str
    phase: Phase
    outcome: Outcome | None
    reason: str | None
    may_bill: bool
    handed_over: bool
    error: str | None
    """The name of the exception, or of the limit, that failed the run."""
    stored_exit_code: int | None
    """Of a run that an earlier version failed; this one derives the code from `error`."""
    account: str
    region: str
    wanted_mode: str
    """`serving.mode` of the spec."""
    created_at: datetime
    updated_at: datetime
    base_model: str
    serves_model_of: str | None
    """The run whose model this one serves; None: it trains its own."""
    stages: bool
    """Whether it uploads rows."""
    job_arn: str | None
    model_arn: str | None
    endpoint_arn: str | None
    endpoint_name: str | None
    serving_mode: str | None
    """Of the endpoint that the run creates or has created: provisioned or on-demand."""
    answers_calls: bool
    """Whether the endpoint is ready, and not released."""
    converses: bool
    """Whether it is asked by the Converse API, rather than by InvokeModel."""
    expires_at: datetime | None
    """When a dead man's switch, or `reap`, deletes the endpoint."""
    cost: str | None
    """What it has cost, as its report says; before that, what the plan expected."""
    training_loss: float | None
    validation_loss: float | None
    answers_uri: str | None
    report_uri: str | None
    verdict: str | None
    """Whether the tuned model is better than its base, in a few words."""
    first_answer: FirstAnswer | None

    def __post_init__(self) -> None:
        check_types(self)
        for field in fields(self):
            # They stand in lines of their own, and a checkpoint may be a stranger's.
            if type(value := getattr(self, field.name)) is str:
                object.__setattr__(self, field.name, one_line(value, LONGEST_REASON))

    @property
    def serves(self) -> bool:
        return self.wanted_mode != "none"

    @property
    def route(self) -> Route:
        trains = self.serves_model_of is None
        return route_of(serves=self.serves, trains=trains, stages=trains or self.stages)

    @classmethod
    def of(cls, run: Run) -> Self:
        """The view of a run that is in memory."""
        return cls.from_json(run.model_dump(mode="json"))

    @classmethod
    def from_json(cls, run: dict[str, Any]) -> Self:
        """
        The view of the `run` of a checkpoint.

        Raises:
            UNFIT: it does not have the checkpoint's schema.
        """
        phase, created = Phase(run["phase"]), run["created"]
        job_failure, endpoint_failure = run.get("job_failure"), run.get("endpoint_failure")
        failure: dict[str, Any] = run.get("failure") or {}
        model: dict[str, Any] = run.get("model") or {}
        tests: dict[str, Any] = run.get("tests") or {}
        report: dict[str, Any] = run.get("report") or {}
        intent: dict[str, Any] = run.get("serving_intent") or {}
        serving: dict[str, Any] = run.get("serving") or {}
        kept: dict[str, Any] = run.get("handed_over") or {}
        spec: dict[str, Any] = created["spec"]
        served: dict[str, Any] = created.get("serves") or {}
        first = tests.get("first")
        reason: str | None
        if job_failure:
            reason = job_failure_reason(job_failure["status"], job_failure["reason"])
        else:
            reason = endpoint_failure["reason"] if endpoint_failure else failure.get("reason")
        return cls(
            run_id=created["run_id"],
            phase=phase,
            outcome=outcome_of(phase, cancelled=bool(run.get("cancelled")), failed=reason is not None),
            reason=reason,
            may_bill=billing_possible(
                intended=bool(run.get("serving_intent")),
                refused=bool(run.get("refused_serving")),
                released=bool(run.get("released")),
            ),
            handed_over=bool(run.get("handed_over")),
            error=failure.get("error"),
            stored_exit_code=failure.get("exit_code"),
            account=created["account"],
            region=created["region"],
            wanted_mode=spec.get("serving", {}).get("mode", "provisioned"),
            created_at=_at(run["created_at"]),
            updated_at=_at(run["updated_at"]),
            base_model=spec["model"]["base"],
            serves_model_of=served.get("run_id"),
            stages=not served or not served.get("records"),
            job_arn=(run.get("job") or {}).get("arn"),
            model_arn=model.get("model_arn"),
            endpoint_arn=serving.get("arn"),
            endpoint_name=intent.get("name"),
            serving_mode=intent.get("mode"),
            answers_calls=bool(run.get("endpoint")) and not run.get("released"),
            converses=spec.get("test", {}).get("api", "converse") == "converse",
            expires_at=_time(kept.get("expires_at") if kept else serving.get("deleted_at")),
            cost=_cost(report.get("cost"), created.get("planned")),
            training_loss=model.get("training_loss"),
            validation_loss=model.get("validation_loss"),
            answers_uri=tests.get("uri"),
            report_uri=report.get("uri"),
            verdict=one_line(report["verdict"], LONGEST_REASON) if report.get("verdict") else None,
            first_answer=FirstAnswer(first["row"], first["answer"], tests["held_out"]) if first else None,
        )


def _cost(come_to: dict[str, Any] | None, planned: dict[str, Any] | None) -> str | None:
    if come_to is not None:
        month = come_to["per_month"]
        return spent_and_left(
            float(come_to["known"]),
            None if month is None else float(month),
            complete=bool(come_to["complete"]),
            estimated=bool(come_to["about"]),
        )
    expected = planned.get("expected") if planned else None
    return None if expected is None else f"expected {about(dollars(float(expected)), estimated=True)}"


def _time(text: str | None) -> datetime | None:
    return None if text is None else _at(text)


def _at(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"'{text}' has no time zone")
    return found


UNFIT: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What reading a document of another shape raises."""

_PLAIN: Final[dict[str, type | UnionType]] = {
    "str": str,
    "str | None": str | None,
    "int": int,
    "int | None": int | None,
    "bool": bool,
    "float | None": float | int | None,
}


def check_types(record: Any) -> None:
    """
    Raises TypeError for a plain field of a dataclass that holds a value of another type, OverflowError for a
    number that is beyond all measure.

    A document's checksum proves only that it was not damaged: anybody can make one.
    """
    for field in fields(record):
        kind, value = _PLAIN.get(str(field.type)), getattr(record, field.name)
        if kind is not None and not isinstance(value, kind):
            raise TypeError(f"{field.name} is not {field.type}")
        if isinstance(value, int):
            float(value)


@dataclass(frozen=True, slots=True)
class CheckpointView:
    run: RunView
    holder: ProcessIdentity | None
    saved_at: datetime | None
    halted: str | None
    """Why the last process stopped before the run was done, if by an error."""
    spans: tuple[PhaseSpan, ...]

    def __post_init__(self) -> None:
        check_types(self)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        history = [
            {"at": entry.at.isoformat(), "event": {"kind": entry.event.kind}} for entry in checkpoint.history
        ]
        return cls.from_json(checkpoint.model_dump(mode="json", exclude={"history"}) | {"history": history})

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Self:
        """As `RunView.from_json`, of the whole checkpoint."""
        holder, run = table.get("holder"), RunView.from_json(table["run"])
        events = [(entry["event"]["kind"], _at(entry["at"])) for entry in table["history"]]
        identity = None
        if holder:
            identity = ProcessIdentity(**{name: holder[name] for name in ProcessIdentity.__slots__})
            check_types(identity)
        return cls(
            run,
            identity,
            _time(table.get("saved_at")),
            table.get("halted"),
            tuple(phase_spans(events, run.route)),
        )


def local_root(store: str | None) -> Path | None:
    """The folder of the store that the flag, else the environment, names; None for a store elsewhere."""
    uri = store or environment.checkpoint_uri()
    if uri is None:
        return default_checkpoint_folder()
    return None if "://" in uri else Path(uri)


def read_view(root: Path, run_id: str) -> tuple[CheckpointView, str]:
    """
    The view of a run in a local store, and the path of its checkpoint.

    Raises:
        RunNotFound: the store has no such run.
        CheckpointError: the checkpoint is damaged, or of a newer version.
    """
    path = run_folder(root, checked_run_id(run_id)) / STATE
    body = read_file(path)
    if body is None:
        raise RunNotFound(
            f"No run '{run_id}' in {root.expanduser().absolute()}.", hint="List the runs: vlm-runner list"
        )
    table = verified(body, where=str(path))
    try:
        seen = CheckpointView.from_json(table)
    except UNFIT as error:
        raise CheckpointError(f"{path} does not fit the schema: {error}.") from error
    refuse_another(seen.run.run_id, run_id, where=str(path))
    return seen, str(path)


def state_of(checkpoint: CheckpointView, takeover_after: float) -> str:
    """
    In one word: RUNNING, STOPPED, STALE, or how it ended.

    STALE: its process is gone, or has been silent for `takeover_after` seconds, after which a successor takes
    the run over.
    """
    if checkpoint.run.outcome is not None:
        return checkpoint.run.outcome.value.upper()
    if checkpoint.holder is None:
        return "STOPPED"
    silent = 0.0
    if checkpoint.saved_at is not None:
        silent = (datetime.now(UTC) - checkpoint.saved_at).total_seconds()
    return "STALE" if silent > takeover_after or is_dead(checkpoint.holder) else "RUNNING"
