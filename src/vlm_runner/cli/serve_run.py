"""What `serve` does: one serving or two, and their comparison."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.cli import console
from vlm_runner.cli.confirm import confirmed
from vlm_runner.cli.detached import say_detached
from vlm_runner.cli.foreground import drive_to_end
from vlm_runner.cli.options import Where, split_flags
from vlm_runner.cli.report import load_reports, save
from vlm_runner.cli.resolve import settings_for
from vlm_runner.core.timeline import spelled
from vlm_runner.describe import MODES
from vlm_runner.dollars import bound
from vlm_runner.errors import UsageError
from vlm_runner.plan.cost import estimate_serving
from vlm_runner.report.render import page
from vlm_runner.runner import Runner
from vlm_runner.spec import ServingMode
from vlm_runner.steps.prepare_serving import ServeOptions, asked_beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.core.events import RunCreated
    from vlm_runner.json_output import RunResultJson
    from vlm_runner.models import Catalogue
    from vlm_runner.runner import RunHandle
    from vlm_runner.settings import Settings


def serve_run(
    run_id: str, *, compare_with: str | None, serving_id: str | None, yes: bool, detach: bool, **flags: Any
) -> None:
    options = _options(flags, compares=compare_with is not None)
    where, voice = split_flags(flags)
    settings = settings_for(where, ask_profile=True)
    if detach and compare_with is not None:
        raise UsageError("--compare-with cannot be given with --detach: it waits for both models.")
    if detach:
        name = anyio.run(partial(_create, settings, run_id, options, serving_id, yes=yes))
        sys.exit(say_detached(settings, name, where, [], **voice))
    drive = partial(_serve_one, settings, yes=yes, where=where, voice=voice)
    if compare_with is None:
        sys.exit(drive(run_id, options, serving_id)[0])
    # Before the first is paid for: what cannot be compared is refused.
    theirs = anyio.run(_beside, settings, run_id, compare_with, options)
    results: list[RunResultJson] = []
    code, ours = drive(run_id, options, serving_id, results=results)
    if code == 0:
        code, others = drive(compare_with, theirs, None, results=results)
        if code == 0:
            _compare(settings, (ours, others))
    if voice["as_json"]:
        console.result_json(results)
    sys.exit(code)


def _options(flags: dict[str, Any], *, compares: bool) -> ServeOptions:
    """Takes them out of `flags`."""
    rows, split, dataset, seconds = (flags.pop(name) for name in ("rows", "split", "dataset", "seconds"))
    compare_base = flags.pop("compare_base")
    asks = compares or any(value is not None for value in (rows, split, dataset))
    if asks and rows is None:
        raise UsageError("--split, --dataset and --compare-with need --rows.", hint="Give --rows 50.")
    if compare_base and not asks:
        raise UsageError("--compare-base needs --rows.", hint="Give --rows 50.")
    return ServeOptions(
        seconds=seconds if seconds is not None else (0.0 if asks else None),
        rows=rows or 0,
        split=split,
        dataset=dataset,
        compare_base=compare_base,
        mode=ServingMode(flags.pop("mode")),
        model_units=flags.pop("model_units"),
        max_cost=flags.pop("max_cost"),
    )


def _serve_one(
    settings: Settings,
    run_id: str,
    options: ServeOptions,
    serving_id: str | None,
    *,
    yes: bool,
    where: Where,
    voice: dict[str, Any],
    results: list[RunResultJson] | None = None,
) -> tuple[int, str]:
    """The exit code, and the id of the run that served; `results`: see `drive_to_end`."""
    name: list[str] = []

    async def begin(runner: Runner) -> RunHandle:
        name.append(await _created(runner, run_id, options, serving_id, yes=yes))
        return await runner.resume(name[0])

    code = drive_to_end(settings, begin, where=where, results=results, **voice)
    return code, name[0]


async def _create(
    settings: Settings, run_id: str, options: ServeOptions, serving_id: str | None, *, yes: bool
) -> str:
    async with Runner.open(settings) as runner:
        return await _created(runner, run_id, options, serving_id, yes=yes)


async def _created(
    runner: Runner, run_id: str, options: ServeOptions, serving_id: str | None, *, yes: bool
) -> str:
    """The id of the run that serves, which is created, if it does not exist, once a person agrees."""
    created = await runner.prepare_serving(run_id, options, serving_id=serving_id)
    if await runner.exists(created.run_id):
        return created.run_id
    terminal = console.at_terminal()
    if not (yes or terminal) and created.budget is None:
        raise console.unattended("Serving costs money", "Confirm with: --yes, or give --max-cost.")
    console.say("\n".join(offer(created, runner.catalogue)))
    if terminal and not yes and not await confirmed("Serve it?"):
        raise UsageError("Nothing was served.")
    return await runner.create(created)


def offer(created: RunCreated, catalogue: Catalogue) -> list[str]:
    """What will be served, for how long, and what it costs."""
    spec, served = created.spec, created.serves
    if served is None:
        raise ValueError(f"run {created.run_id} serves no earlier run's model")
    profile = catalogue.find(spec.model.base)
    cost = estimate_serving(spec, profile, served.seconds)
    how_long = (
        "until you end it (Ctrl-C, or vlm-runner cancel)"
        if served.seconds is None
        else f"for {spelled(served.seconds)}"
        if served.seconds
        else "until its rows are answered"
    )
    by = f"by {_a(MODES[spec.serving.mode])} ({created.serving_reason})"
    lines = [f"Run {created.run_id} serves the model of run {served.run_id} {by} {how_long}."]
    if spec.test.rows:
        lines.append(f"It is asked about {spec.test.rows} rows{_of(created)}.")
    lines.append(price(cost.rents, cost.per_hour, cost.calls) + _limit(created))
    return lines


def price(rents: bool, per_hour: Any, calls: Any) -> str:  # noqa: FBT001 - of a `Cost`
    """What serving costs, in a sentence."""
    if rents:
        return f"Cost: {bound(per_hour)} an hour from its creation to its deletion; calls cost nothing more"
    rows = f", at most {bound(calls)} for its rows" if calls != 0 else ""
    return f"Cost: by the token of each call{rows}; nothing while idle"


def _limit(created: RunCreated) -> str:
    return "." if created.budget is None else f"; never more than ${created.budget.max_cost:,.2f}."


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _of(created: RunCreated) -> str:
    served = created.serves
    if served is None or served.records is not None:
        return ""
    return f" of {created.spec.dataset.source}, split {created.spec.dataset.split}"


async def _beside(settings: Settings, run_id: str, other: str, options: ServeOptions) -> ServeOptions:
    """How the model of `other` is asked the same, if it can be served at all."""
    async with Runner.open(settings) as runner:
        theirs = asked_beside(await runner.get(run_id), await runner.get(other), options)
        await runner.prepare_serving(other, theirs)
    return theirs


def _compare(settings: Settings, run_ids: Sequence[str]) -> None:
    path = Path(f"{run_ids[0]}-against-{run_ids[1]}.html")
    save(page(anyio.run(load_reports, settings, run_ids)), path)
    console.say(f"The page that compares them is {path.absolute()}")
