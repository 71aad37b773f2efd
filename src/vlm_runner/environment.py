"""
What is read from the environment outside of `Settings.from_environment`, without importing anything heavy.

Nothing else in the package reads os.environ, except to hand it to another process.
"""

from __future__ import annotations

import os
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Final

SAGEMAKER_MESSAGE: Final = Path("/opt/ml/output/message")
"""Where SageMaker reads why a Processing container ended."""


def aws_region() -> str | None:
    """AWS_REGION, then AWS_DEFAULT_REGION. botocore 1.40 reads the second only."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def checkpoint_uri() -> str | None:
    """As `Settings.checkpoint_uri`, in any case; also where the other variables are not valid."""
    given = (value for name, value in os.environ.items() if name.upper() == "VLM_RUNNER_CHECKPOINT_URI")
    return next(given, None)


def hub_token() -> str | None:
    """The Hugging Face Hub's own variable."""
    return os.environ.get("HF_TOKEN") or None


def message_file() -> Path:
    """As `Settings.processing.message`; also where the other variables are not valid."""
    return Path(os.environ.get("VLM_RUNNER_PROCESSING__MESSAGE") or SAGEMAKER_MESSAGE)


def state_home() -> Path:
    """The user's folder for application state (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state) if state else Path.home() / ".local" / "state"


def cache_home() -> Path:
    """The user's folder for what can be had again (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(cache) if cache else Path.home() / ".cache"


def pricing_endpoint() -> str | None:
    """Where botocore looks for AWS's price list, if the environment says so."""
    return os.environ.get("AWS_ENDPOINT_URL_PRICING") or os.environ.get("AWS_ENDPOINT_URL") or None


def wants_colour() -> bool:
    """Not with NO_COLOR (no-color.org), nor on a terminal that is called dumb."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@cache
def own_command() -> str:
    """
    What is typed to start this program again: `vlm-runner`, or its path where that name leads elsewhere.

    uvx and `pipx run` put the program into a cache of theirs, which no search path has once it has ended.
    """
    given = Path(sys.argv[0])
    if given.name == "__main__.py":
        return f"{shlex.quote(_python())} -m vlm_runner"
    folders = given.absolute().parts
    if "uv" in folders and any(part.startswith(("archive-v", "environments-v")) for part in folders):
        return "uvx vlm-runner"
    if "pipx" in folders and ".cache" in folders:
        return "pipx run vlm-runner"
    found = _which("vlm-runner")
    if given.name != "vlm-runner" or (found is not None and given.exists() and given.samefile(found)):
        return "vlm-runner"
    return shlex.quote(str(given))


def _which(program: str) -> str | None:
    from shutil import which  # noqa: PLC0415 -- archives of all kinds come with it: 2 ms of each command

    return which(program)


def _python() -> str:
    found = _which("python")
    same = found is not None and Path(found).absolute().parent == Path(sys.executable).parent
    return "python" if same else sys.executable


def use_sandbox_credentials() -> None:
    """In place of the user's own AWS set-up, of which nothing may leak into a sandbox."""
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
        del os.environ[name]
    os.environ |= {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}
