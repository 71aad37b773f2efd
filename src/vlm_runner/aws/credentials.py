"""Credentials as botocore finds them: their faults are told apart from those of answers."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Any

from vlm_runner.aws.errors import credentials_translated
from vlm_runner.errors import CredentialsError


def ask_on_terminals_only(session: Any) -> None:
    """A profile with `mfa_serial` asks for a code. Where nobody can answer, say so instead of waiting."""

    def ask(prompt: str) -> str:
        if not sys.stdin.isatty():
            raise CredentialsError(
                "The AWS profile asks for an MFA code (mfa_serial), and there is no terminal to enter it.",
                hint="Get a session first, with: aws sts get-session-token; or use a profile without MFA.",
            )
        return getpass.getpass(prompt)

    session.get_component("credential_provider").get_provider("assume-role")._prompter = ask  # noqa: SLF001


def check_authorities(session: Any) -> None:
    """
    Botocore opens `ca_bundle` when it first connects, and its error then names no file.

    It does not expand `~` either, as it does for its own files.
    """
    named = session.get_config_variable("ca_bundle")
    if not isinstance(named, str) or not named:
        return
    path = Path(named).expanduser()
    if not path.exists():
        raise CredentialsError(
            f"The AWS configuration names {named} as ca_bundle, and there is no such file.",
            hint="Correct ca_bundle in the profile, or AWS_CA_BUNDLE.",
        )
    session.set_config_variable("ca_bundle", str(path))


def _refuse_login(session: Any) -> None:
    """A profile of `aws login` needs a newer botocore than aioboto3 takes: say what helps."""
    if "login_session" not in session.get_scoped_config():
        return
    profile = session.profile or "default"
    raise CredentialsError(
        f"Profile '{profile}' gets its credentials by aws login, which this version of botocore cannot read.",
        hint=f'Hand them on: eval "$(aws configure export-credentials --profile {profile} --format env)", '
        "and leave AWS_PROFILE and --profile out; they end after some hours.",
    )


async def fresh_credentials(session: Any) -> Any:
    """The credentials of a botocore session, refreshed if they end soon; None if it has none."""
    with credentials_translated("reading credentials"):
        found = await session.get_credentials()
        if found is None:
            _refuse_login(session)
        return None if found is None else await found.get_frozen_credentials()
