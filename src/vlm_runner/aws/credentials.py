"""Credentials as botocore finds them: their faults are told apart from those of answers."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from vlm_runner.aws.errors import credentials_translated
from vlm_runner.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Iterator

HELPER_SECONDS: Final = 120.0
"""For a credentials helper to answer, somebody's click in a browser included. botocore waits for ever."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Around what makes the event loop wait, whose own handler of Ctrl-C would never have its turn."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@cache
def log_as_botocore() -> None:
    """
    What aiobotocore logs goes where the program says, and nowhere else, as botocore has it.

    It logs credentials that cannot be had with their traceback, which Python prints where no program has
    said anything; they are raised as well.
    """
    logging.getLogger("aiobotocore").addHandler(logging.NullHandler())


@contextmanager
def answering() -> Iterator[None]:
    """Around what may ask a credentials helper: one that hangs must not keep a release from going on."""
    try:
        with anyio.fail_after(HELPER_SECONDS):
            yield
    except TimeoutError as error:
        raise CredentialsError(
            "What gives the AWS credentials (credential_process, single sign-on, a metadata service) has not "
            f"answered for {HELPER_SECONDS:.0f} seconds.",
            hint="Run it by hand, or: aws sts get-caller-identity",
        ) from error


def ask_on_terminals_only(session: Any) -> None:
    """A profile with `mfa_serial` asks for a code. Where nobody can answer, say so instead of waiting."""

    def ask(prompt: str) -> str:
        if not sys.stdin.isatty():
            raise CredentialsError(
                "The AWS profile asks for an MFA code (mfa_serial), and there is no terminal to enter it.",
                hint="Get a session first, with: aws sts get-session-token; or use a profile without MFA.",
            )
        try:
            with interruptible():
                return getpass.getpass(prompt)
        except EOFError:
            raise CredentialsError("No MFA code was entered.", hint="Give the same command again.") from None

    session.get_component("credential_provider").get_provider("assume-role")._prompter = ask  # noqa: SLF001


def end_what_is_given_up(session: Any) -> None:
    """A `credential_process` that is not waited for any more is ended; aiobotocore leaves it behind."""
    session.get_component("credential_provider").get_provider("custom-process")._popen = _helper  # noqa: SLF001


async def _helper(*command: str, **options: Any) -> Any:
    process = await asyncio.create_subprocess_exec(*command, **options)
    communicate = process.communicate

    async def until_given_up() -> tuple[bytes, bytes]:
        try:
            return await communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()
            raise

    process.communicate = until_given_up  # type: ignore[method-assign,assignment]
    return process


def check_authorities(session: Any) -> None:
    """
    Botocore opens `ca_bundle` when it first connects, and its error then names no file.

    It does not expand `~` either, as it does for its own files.
    """
    named = session.get_config_variable("ca_bundle")
    if not isinstance(named, str) or not named:
        return
    path = Path(os.path.expanduser(named))  # noqa: PTH111 - Path's raises where there is no such user
    if not path.is_file():
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
    with credentials_translated("reading credentials"), answering():
        found = await session.get_credentials()
        if found is None:
            _refuse_login(session)
            return None
        frozen = await found.get_frozen_credentials()
        _refuse_odd(frozen)
        return frozen


def _refuse_odd(frozen: Any) -> None:
    """No header takes a line end: the answer would count as lost, and be asked for again."""
    for name, value in zip(("access key", "secret access key", "session token"), frozen, strict=False):
        optional = name == "session token" and value is None
        if not optional and not (isinstance(value, str) and value.isascii() and _one_word(value)):
            raise CredentialsError(
                f"The AWS {name} is not one word of letters, digits and signs: "
                "it has a space, a line end or the like in it.",
                hint="Enter it again where it is set: the environment, the profile, or the helper.",
            )


def _one_word(text: str) -> bool:
    return text.isprintable() and " " not in text
