"""What the user's AWS configuration files say."""

from __future__ import annotations

from vlm_runner.errors import ConfigurationError


def region_of_profile(profile: str | None) -> str | None:
    """
    The region of an AWS profile (None: the default one), or None where it names none.

    Raises:
        ConfigurationError: the profile does not exist.
    """
    from botocore.exceptions import ProfileNotFound  # noqa: PLC0415 - a third of a second
    from botocore.session import Session  # noqa: PLC0415

    try:
        region = Session(profile=profile).get_config_variable("region")
    except ProfileNotFound as error:
        raise ConfigurationError(
            f"{error}.", hint="List the profiles: aws configure list-profiles"
        ) from error
    return str(region) if region else None
