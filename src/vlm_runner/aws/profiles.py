"""What the user's AWS configuration files say."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from vlm_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def profile_exists() -> Iterator[None]:
    """Raises ConfigurationError where botocore does not find the profile that it is given."""
    from botocore.exceptions import ProfileNotFound  # noqa: PLC0415 - a third of a second

    try:
        yield
    except ProfileNotFound as error:
        raise ConfigurationError(
            f"{error}.", hint="List the profiles: aws configure list-profiles"
        ) from error


def region_of_profile(profile: str | None) -> str | None:
    """
    The region of an AWS profile (None: the default one), or None where it names none.

    Raises:
        ConfigurationError: the profile does not exist.
    """
    from botocore.session import Session  # noqa: PLC0415 - a third of a second

    with profile_exists():
        region = Session(profile=profile).get_config_variable("region")
    return str(region) if region else None
