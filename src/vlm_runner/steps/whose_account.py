"""Nothing of a run is found in another account: there, not found says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.errors import AwsRefused, AwsUnavailable, CredentialsError, OtherAccount

if TYPE_CHECKING:
    from vlm_runner.steps.ports import Ports


async def refuse_other_account(account: str, ports: Ports) -> None:
    """
    Raises OtherAccount where the credentials are not of `account`, as of another profile.

    What STS does not answer is reported only: where it cannot be reached, a release must end all the same.
    """
    try:
        caller = await ports.aws.account.caller()
    except (AwsRefused, AwsUnavailable, CredentialsError) as error:
        ports.trouble("asking whose the credentials are", error)
        return
    if caller.account != account:
        raise OtherAccount(
            f"The run is of account {account}, and these credentials are of {caller.account}.",
            hint="Give the profile or the credentials of the run's account.",
        )


def account_of(arn: str) -> str:
    return arn.split(":")[4]
