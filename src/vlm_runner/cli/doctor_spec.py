"""What `doctor` does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.cli import console
from vlm_runner.cli.exit_codes import STOPPED
from vlm_runner.cli.options import Where
from vlm_runner.cli.resolve import settings_for
from vlm_runner.doctor import Status
from vlm_runner.doctor.run import run_doctor
from vlm_runner.prices import priced_catalogue
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.doctor import Check


def doctor_spec(spec_file: str, run_id: str | None, *, as_json: bool, **flags: Any) -> None:
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(Where(**flags), spec_region=spec.aws.region, ask_profile=True)
    found = anyio.run(run_doctor, spec, settings, priced_catalogue(settings), run_id)
    if as_json:
        console.result_json([check.as_json() for check in found])
    else:
        console.result("\n".join(check.line for check in found).replace("SPEC", spec_file))
    sys.exit(_exit_code(found))


def _exit_code(found: Sequence[Check]) -> int:
    if any(check.status is Status.BAD for check in found):
        return 4
    # Without an answer about the credentials nothing else was asked.
    unasked = any(check.code == "C01" and check.status is Status.UNKNOWN for check in found)
    return STOPPED if unasked else 0
