"""verify: what this project assumes of AWS, asked of the user's own account."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.confirm import confirmed
from vlm_runner.cli.exit_codes import STILL_BILLING
from vlm_runner.cli.options import Where, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.clock import SystemClock
from vlm_runner.errors import UsageError, VlmRunnerError
from vlm_runner.prices import priced_catalogue
from vlm_runner.spec import RunSpec
from vlm_runner.verify.kit import RECORDING, Verified, Wanted, opened
from vlm_runner.verify.levels import LEVELS, NEEDS_BUDGET, announced, check_wanted

if TYPE_CHECKING:
    from decimal import Decimal

    from vlm_runner.json_output import VerifiedJson
    from vlm_runner.models import ModelProfile
    from vlm_runner.settings import Settings

DIFFERENT = 4


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option(
    "--level",
    type=click.IntRange(0, len(LEVELS) - 1),
    default=0,
    show_default=True,
    help="How far to go: 0 reads, 1 refusals, 2 the switch and a stopped job, 3 a run, 4 throughput.",
)
@click.option(
    "--max-cost", type=click.FloatRange(min=0), metavar="USD", help="Budget; required from level 2 on."
)
@click.option(
    "--rent-throughput", "rent", is_flag=True, help="Allow level 4 to rent a throughput by the hour."
)
@click.option(
    "--folder",
    default="vlm-runner-verify",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder of the recording and the state; the same command continues from them.",
)
@click.option(
    "--accept",
    metavar="ID",
    multiple=True,
    help="Continue to levels that cost although AWS contradicts this assumption. May be repeated.",
)
@click.option("--sweep", is_flag=True, help="Only delete what an interrupted verification left.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before a level that may cost.")
@json_option
@where_options
def verify(
    spec_file: str,
    level: int,
    max_cost: float | None,
    folder: str,
    accept: tuple[str, ...],
    *,
    rent: bool,
    sweep: bool,
    yes: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Prove on your own account what vlm-runner assumes of AWS.

    Levels 0 and 1 are free, 2 about free, 3 costs cents, 4 rents a throughput. SPEC names model, role,
    bucket and switch; its dataset is not touched. Each level says beforehand what it does, costs and leaves,
    and ends with a sweep that must find nothing. What AWS did is in FOLDER/recording.jsonl, without anything
    of your account: fit to be attached to an issue. Exits with 4 if AWS contradicts an
    assumption, and with 104 while something is left.

    \b
    Example:
        vlm-runner verify run.toml                           reads only
        vlm-runner verify run.toml --level 1                 and refusals: still free
        vlm-runner verify run.toml --level 3 --max-cost 5    and the smallest whole run
    """
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(Where(**flags), spec_region=spec.aws.region, ask_profile=True)
    profile = priced_catalogue(settings).find(spec.model.base)
    wanted = Wanted(level=level, max_cost=max_cost, rent=rent, accept=accept)
    if not sweep:
        check_wanted(spec, level, max_cost=max_cost, rent=rent)
        _announce(level, profile.throughput_price(1))
        _ask(level, yes=yes)
    try:
        found = anyio.run(_verify, spec, profile, settings, Path(folder), None if sweep else wanted)
    except (VlmRunnerError, KeyboardInterrupt):
        again = f"vlm-runner verify {spec_file} --folder {folder}"
        console.say(f"The same command continues it. To delete what it has created: {again} --sweep")
        raise
    if as_json:
        console.result_json(as_json_value(found))
    elif not sweep:
        console.result(table_text(found))
    console.say(_end(found, Path(folder), settings.region or "", spec_file))
    sys.exit(STILL_BILLING if found.left else DIFFERENT if found.held or found.count("different") else 0)


def _announce(level: int, price: Decimal | None) -> None:
    for each in LEVELS[: level + 1]:
        console.say(announced(each, price))


def _ask(level: int, *, yes: bool) -> None:
    if level < NEEDS_BUDGET or yes:
        return
    if not console.at_terminal():
        raise console.unattended(f"Level {level} may cost money", "Confirm with: --yes")
    if not anyio.run(confirmed, "Begin?"):
        raise UsageError("Nothing was asked.")


async def _verify(
    spec: RunSpec, profile: ModelProfile, settings: Settings, folder: Path, wanted: Wanted | None
) -> Verified:
    async with opened(spec, profile, settings, folder, clock=SystemClock()) as verification:
        if wanted is None:
            return verification.result(left=await verification.sweep(NEEDS_BUDGET))
        return await verification.go(
            wanted, before=lambda level: console.say(f"Level {level} has begun: {LEVELS[level].title}.")
        )


def table_text(found: Verified) -> str:
    """A line an assumption: what AWS did is under it where it is not what was assumed."""
    lines = []
    for row in found.rows:
        judged = row.judgement
        lines.append(f"{row.assumption.id:<5} {judged.verdict:<10} {row.assumption.claim}")
        if judged.verdict != "same":
            lines.append(f"{'':<17}AWS: {judged.did}")
    return "\n".join(lines)


def _end(found: Verified, folder: Path, region: str, spec_file: str) -> str:
    counts = ", ".join(f"{found.count(each)} {each}" for each in ("same", "different", "unknown"))
    lines = [f"\n{counts}. The recording is {folder / RECORDING}."]
    if found.held is not None:
        lines.append(found.held)
    if found.left:
        lines.append("STILL THERE, and to be deleted:")
        for one in found.left:
            lines += [f"  {one}", f"  delete it with: {one.command(region)}"]
        lines.append(f"Or try again with: vlm-runner verify {spec_file} --folder {folder} --sweep")
    else:
        lines.append("Nothing is left: the last sweep found nothing.")
    return "\n".join(lines)


def as_json_value(found: Verified) -> VerifiedJson:
    return {
        "passed": list(found.passed),
        "held": found.held,
        "left": [str(one) for one in found.left],
        "assumptions": [
            {
                "id": row.assumption.id,
                "level": row.assumption.level,
                "claim": row.assumption.claim,
                "source": row.assumption.source,
                "verdict": row.judgement.verdict,
                "did": row.judgement.did,
            }
            for row in found.rows
        ],
    }
