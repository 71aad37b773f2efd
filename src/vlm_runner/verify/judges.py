"""
Judges: what AWS did, held against what was assumed. Pure.

They see exchanges as the recording has them, so a recording can be judged anywhere, by anyone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vlm_runner.verify.recording import Exchange

Verdict = Literal["same", "different", "unknown"]

NOT_FOUND: Final = ("ResourceNotFoundException",)


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    did: str
    """What AWS did, for the table."""


def accepted(*members: str) -> Callable[[Sequence[Exchange]], Judgement]:
    """The last request was accepted, and its answer has these members."""

    def judge(seen: Sequence[Exchange]) -> Judgement:
        last = seen[-1]
        missing = [member for member in members if last.answer.get(member) is None]
        if not last.accepted or missing:
            return Judgement("different", last.brief + (f", without {', '.join(missing)}" if missing else ""))
        return Judgement("same", last.brief)

    return judge


def refused(*codes: str, says: str = "") -> Callable[[Sequence[Exchange]], Judgement]:
    """The last request was refused with one of these codes, and with these words in its message."""

    def judge(seen: Sequence[Exchange]) -> Judgement:
        last = seen[-1]
        right = last.code in codes and says.lower() in (last.message or "").lower()
        return Judgement("same" if right else "different", last.brief)

    return judge


def made(*already: str) -> Callable[[Sequence[Exchange]], Judgement]:
    """Created; or there already (by these codes), where the answer to an earlier request was lost."""

    def judge(seen: Sequence[Exchange]) -> Judgement:
        right = seen[-1].accepted or seen[-1].code in already
        return Judgement("same" if right else "different", seen[-1].brief)

    return judge


def holds(member: str, value: str) -> Callable[[Sequence[Exchange]], Judgement]:
    """Somewhere under `member` (dotted) of the last answer is `value`."""

    def judge(seen: Sequence[Exchange]) -> Judgement:
        last = seen[-1]
        if not last.accepted:
            return Judgement("different", last.brief)
        found: Any = last.answer
        for part in member.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        inside = value.lower() in str(found).lower()
        return Judgement("same" if inside else "different", f"{member} is {found}")

    return judge


def states(
    operation: str, member: str, *orders: tuple[str, ...]
) -> Callable[[Sequence[Exchange]], Judgement]:
    """The states that `operation` showed, one after another, are part of one of these orders, to its end."""

    def judge(seen: Sequence[Exchange]) -> Judgement:
        shown: list[str] = []
        for each in seen:
            state = each.answer.get(member) if each.operation == operation else None
            if state is not None and shown[-1:] != [state]:
                shown.append(str(state))
        did = " → ".join(shown)
        if not shown:
            return Judgement("unknown", "no state was seen")
        for order in orders:
            places = [order.index(state) if state in order else -1 for state in shown]
            if -1 not in places and places == sorted(places):
                if shown[-1] == order[-1]:
                    return Judgement("same", did)
                return Judgement("unknown", f"{did}, and no further")
        return Judgement("different", did)

    return judge


def gone(get: str, delete: str) -> Callable[[Sequence[Exchange]], Judgement]:
    """After `delete` was accepted, `get` says in the end that there is no such resource."""

    def judge(seen: Sequence[Exchange]) -> Judgement:
        deleted = [each for each in seen if each.operation == delete]
        looks = [each for each in seen if each.operation == get]
        if not deleted or not looks:
            return Judgement("unknown", "nothing was deleted")
        if not any(each.accepted for each in deleted):
            return Judgement("different", deleted[-1].brief)
        right = looks[-1].code in NOT_FOUND
        return Judgement("same" if right else "different", f"deleted; then {looks[-1].brief}")

    return judge


def echoed(seen: Sequence[Exchange]) -> Judgement:
    """Bedrock tells the token that a job was created with: it is how a run knows its own job."""
    sent = {each.request.get("clientRequestToken") for each in seen if _creates_job(each)}
    told = [each.answer.get("clientRequestToken") for each in seen if _is_look(each) and each.accepted]
    if not told or not sent:
        return Judgement("unknown", "no job was looked at")
    if told[0] is None:
        return Judgement("different", "no token in the answer")
    right = told[0] in sent
    return Judgement("same" if right else "different", "the same token" if right else "another token")


def found_at_once(seen: Sequence[Exchange]) -> Judgement:
    looks = _looks_after_create(seen)
    if not looks:
        return Judgement("unknown", "no job was created")
    found = next((index for index, look in enumerate(looks) if look.accepted), len(looks))
    return Judgement("same" if found == 0 else "different", f"found at look {found + 1}")


def _looks_after_create(seen: Sequence[Exchange]) -> list[Exchange]:
    created = next((i for i, each in enumerate(seen) if _creates_job(each) and each.accepted), None)
    return [] if created is None else [each for each in seen[created:] if _is_look(each)]


def _creates_job(each: Exchange) -> bool:
    return each.operation == "CreateModelCustomizationJob"


def _is_look(each: Exchange) -> bool:
    return each.operation == "GetModelCustomizationJob"


def same_arn(seen: Sequence[Exchange]) -> Judgement:
    if not seen[-1].accepted:
        return Judgement("different", seen[-1].brief)
    arns = {each.answer.get("jobArn") for each in seen if each.accepted}
    return Judgement("same" if len(arns) == 1 else "different", f"accepted, {len(arns)} job")


def job_made(seen: Sequence[Exchange]) -> Judgement:
    created = [each for each in seen if _creates_job(each)]
    if any(each.accepted for each in created):
        return Judgement("same", "accepted")
    if any(each.accepted for each in seen):
        return Judgement("same", "accepted (the answer was lost, and the job was there)")
    return Judgement("different", seen[-1].brief)


def stopped_now(seen: Sequence[Exchange]) -> Judgement:
    if seen[-1].code == "ConflictException":
        return Judgement("unknown", "it had ended before it could be stopped")
    return accepted()(seen)


def is_role(seen: Sequence[Exchange]) -> Judgement:
    name = seen[-1].answer.get("Role", {}).get("RoleName")
    right = name is not None and name == seen[-1].request["RoleName"]
    return Judgement("same" if right else "different", seen[-1].brief)


def bucket_or_none(seen: Sequence[Exchange]) -> Judgement:
    last = seen[-1]
    return Judgement("same" if last.accepted or last.status == 404 else "different", last.brief)


def quota(seen: Sequence[Exchange]) -> Judgement:
    last = seen[-1]
    if last.code == "NoSuchResourceException":
        return Judgement("same", "no value of its own (NoSuchResourceException)")
    return holds("Quota.QuotaName", "model units")(seen)


def one_price(seen: Sequence[Exchange]) -> Judgement:
    """One record, one price, in a unit that the look-up knows."""
    last = seen[-1]
    if not last.accepted:
        return Judgement("different", last.brief)
    prices = [
        f"{one['pricePerUnit'].get('USD')} USD per {one['unit']}"
        for text in last.answer.get("PriceList", [])
        for term in json.loads(text).get("terms", {}).get("OnDemand", {}).values()
        for one in term["priceDimensions"].values()
    ]
    verdict: Verdict = "same" if len(prices) == 1 else "unknown" if not prices else "different"
    return Judgement(verdict, "; ".join(prices) or "nothing is listed")


def _letters(seen: Sequence[Exchange]) -> dict[str, Mapping[str, str]]:
    """What is in the dead-letter queue: its attributes by the name of the schedule."""
    found: dict[str, Mapping[str, str]] = {}
    for each in seen:
        for message in each.answer.get("Messages") or []:
            told = message.get("MessageAttributes", {})
            attributes = {key: str(value.get("StringValue")) for key, value in told.items()}
            found[attributes.get("SCHEDULE_ARN", "").rpartition("/")[2]] = attributes
    return found


def all_letters(seen: Sequence[Exchange]) -> Judgement:
    names = {each.request["Name"] for each in seen if each.operation == "CreateSchedule"}
    there = names & _letters(seen).keys()
    did = f"{len(there)} of {len(names)} schedules wrote to the dead-letter queue"
    return Judgement("same" if there == names else "unknown", did)


def letter(schedule: str, *, says: str) -> Callable[[Sequence[Exchange]], Judgement]:
    """What the target answered to the schedule that this assumption's id created."""

    def judge(seen: Sequence[Exchange]) -> Judgement:
        made_by = [each.request["Name"] for each in seen if each.probe == schedule]
        told = _letters(seen).get(made_by[-1]) if made_by else None
        if told is None:
            return Judgement("unknown", "no dead letter of it")
        code = told.get("ERROR_CODE", "")
        if "AccessDenied" in code:
            return Judgement(
                "unknown", f"{code}: the role needs vlm-runner iam SPEC --only verify_switch_policy"
            )
        return Judgement("same" if says in code else "different", f"{code}: {told.get('ERROR_MESSAGE', '')}")

    return judge


def armed(seen: Sequence[Exchange]) -> Judgement:
    """The switch was there before the throughput, and is taken away after it."""
    kinds = [each.operation for each in seen if each.accepted]
    if "CreateProvisionedModelThroughput" not in kinds:
        return Judgement("unknown", "nothing was rented")
    rented = kinds.index("CreateProvisionedModelThroughput")
    before, after = kinds[:rented], kinds[rented:]
    right = "CreateSchedule" in before and "DeleteSchedule" in after
    return Judgement("same" if right else "different", " → ".join(dict.fromkeys(kinds)))
