"""Before a run that serves the model of an earlier run exists: what it serves, asks and costs. Reads only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anyio import to_thread
from pydantic import ValidationError

from vlm_runner import preflight
from vlm_runner.core.events import DatasetFacts, ServedModel
from vlm_runner.core.names import new_folder
from vlm_runner.errors import ConfigurationError, UsageError
from vlm_runner.models.settle import serving_reason, settled
from vlm_runner.plan.cost import estimate_serving, within
from vlm_runner.spec import BudgetSpec, DatasetSpec, ServingMode, sentence
from vlm_runner.split_expression import parse_split
from vlm_runner.steps.downloads import downloads_signalled
from vlm_runner.steps.prepare import parent_model, trained_model
from vlm_runner.steps.whose_account import refuse_other_account

if TYPE_CHECKING:
    from vlm_runner.core.events import RunCreated
    from vlm_runner.core.run import Run
    from vlm_runner.spec import RunSpec
    from vlm_runner.steps.ports import Ports


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How the model of a finished run is served again."""

    seconds: float | None = 0.0
    """For how long, once the test rows are answered; None: until somebody ends it."""
    rows: int = 0
    """How many rows it is asked about before."""
    split: str | None = None
    """Of the dataset whose rows it is asked about; None: the rows that the run held out, else its own."""
    dataset: str | None = None
    """Another dataset, of the same columns; None: the run's own."""
    compare_base: bool = False
    mode: ServingMode = ServingMode.AUTO
    model_units: int = 1
    max_cost: float | None = None
    """US dollars. What is rented is released before it is reached."""

    @property
    def stages(self) -> bool:
        """Whether its rows are others than the run's own, so that they must be uploaded first."""
        return self.split is not None or self.dataset is not None


async def prepare_serving(
    origin: Run, options: ServeOptions, *, run_id: str, uid: str, version: str, ports: Ports
) -> RunCreated:
    """
    The run that serves the model of `origin`: all that can be checked before it exists was checked.

    Raises:
        UsageError: the run has no model to serve, or the options contradict each other.
        NotFound: the model is gone, or is not Active.
        ConfigurationError: the credentials are of another account, or the budget is too small.
        DataError: the dataset cannot be used.
    """
    trained_model(origin)
    profile = ports.catalogue.find(origin.spec.model.base)
    given = _spec(origin, options)
    spec = settled(given, profile)
    preflight.refuse(preflight.spec_problems(spec, profile, ports.metric_modules))
    await refuse_other_account(origin.account, ports)
    model = await parent_model(origin, ports)
    served = ServedModel(
        run_id=model.run_id,
        uid=model.uid,
        model_arn=model.model_arn,
        records=None if options.stages else origin.records,
        places=None if options.stages else origin.places,
        held_out=options.stages and _unseen(origin.spec.dataset, spec.dataset),
        seconds=options.seconds,
    )
    if options.stages:
        with downloads_signalled(ports):
            opened = await to_thread.run_sync(ports.open_dataset, spec, None)
        ports.datasets.keep(uid, opened)
        dataset = DatasetFacts(
            fingerprint=opened.fingerprint,
            revision=opened.revision,
            rows=opened.train.num_rows,
            columns=tuple(opened.train.columns),
        )
    else:
        dataset = origin.dataset
    cost = estimate_serving(spec, profile, options.seconds)
    return origin.created.model_copy(
        update={
            "run_id": run_id,
            "uid": uid,
            "folder": new_folder(spec.storage.prefix, run_id, uid),
            "spec": spec,
            "spec_fingerprint": fingerprint(given, served),
            "dataset": dataset,
            "budget": within(spec, profile, cost),
            "planned": cost.facts,
            "serving_reason": serving_reason(given, profile),
            "version": version,
            "serves": served,
            "parent": None,
        }
    )


def asked_beside(run: Run, other: Run, options: ServeOptions) -> ServeOptions:
    """
    How the model of `other` is asked what that of `run` is asked with `options`.

    Raises:
        UsageError: their own rows differ, and no split is named.
    """
    own, theirs = run.spec.dataset, other.spec.dataset
    if not options.stages:
        if own != theirs or run.dataset.fingerprint != other.dataset.fingerprint:
            raise UsageError(
                f"Runs {run.run_id} and {other.run_id} held out different rows.",
                hint="Name the rows that both are asked about: --split NAME",
            )
        return options
    source = options.dataset or (own.source if own.source != theirs.source else None)
    return replace(options, dataset=source, split=options.split or own.split)


def fingerprint(spec: RunSpec, served: ServedModel) -> str:
    """Of all that was asked for: the same command, given again, goes on with the same run."""
    text = f"{spec.fingerprint}|{served.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()


def _spec(origin: Run, options: ServeOptions) -> RunSpec:
    spec = origin.spec
    if options.stages and not options.rows:
        raise UsageError("--split and --dataset need --rows.", hint="Give --rows 50.")
    test = {"rows": options.rows, "compare_base": options.compare_base and options.rows > 0}
    serving = {"mode": options.mode, "model_units": options.model_units, "keep": False}
    return spec.model_copy(
        update={
            "dataset": _dataset(spec.dataset, options) if options.stages else spec.dataset,
            "serving": spec.serving.model_copy(update=serving),
            "test": spec.test.model_copy(update=test),
            "budget": BudgetSpec(max_cost=options.max_cost),
        }
    )


def _dataset(own: DatasetSpec, options: ServeOptions) -> DatasetSpec:
    """As many rows as are asked about, chosen from the whole split, and none held out of them."""
    table = own.model_dump(exclude_defaults=True)
    for name in ("validation_split", "validation_fraction", "validation_column", "group_column"):
        table.pop(name, None)
    if options.dataset is not None:
        for name in ("revision", "config"):
            table.pop(name, None)
    table |= {"source": options.dataset or own.source, "split": options.split or own.split}
    table |= {"max_rows": options.rows, "shuffle_seed": own.seed}
    try:
        return DatasetSpec.model_validate(table)
    except ValidationError as error:
        raise ConfigurationError(f"The dataset does not fit: {sentence(error)}.") from error


def _unseen(trained: DatasetSpec, asked: DatasetSpec) -> bool:
    """Whether no row of `asked` can be one that the model was trained on, as far as names tell."""
    if trained.source != asked.source or trained.config != asked.config:
        return True
    return not {part.split for part in parse_split(trained.split)} & {
        part.split for part in parse_split(asked.split)
    }
