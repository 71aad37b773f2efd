"""IAM's SimulatePrincipalPolicy, which moto lacks: the same judgement that requests meet."""

import re
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from vlm_runner.sandbox.errors import AwsError, error_reply, xml_reply
from vlm_runner.sandbox.guard import Principal, document_of
from vlm_runner.sandbox.http import HttpReply, HttpRequest
from vlm_runner.sandbox.policies import Question, decide
from vlm_runner.sandbox.state import SandboxState


def simulate(state: SandboxState, request: HttpRequest) -> HttpReply:
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    principal = _principal(state, form["PolicySourceArn"])
    if principal is None:
        message = f"The entity {escape(form['PolicySourceArn'])} cannot be found."
        return error_reply("iam", AwsError("NoSuchEntity", message, 404))
    context = {**principal.context, **_context(form)}
    results = "".join(
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{decide(principal.policies, Question(action, resource, context))}</EvalDecision>"
        "</member>"
        for action in _members(form, "ActionNames")
        for resource in _members(form, "ResourceArns") or ["*"]
    )
    inner = f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
    name = "SimulatePrincipalPolicy"
    return xml_reply(200, f"<{name}Response><{name}Result>{inner}</{name}Result></{name}Response>")


def _members(form: dict[str, str], of: str) -> list[str]:
    return [value for name, value in form.items() if re.fullmatch(rf"{re.escape(of)}\.member\.\d+", name)]


def _context(form: dict[str, str]) -> dict[str, tuple[str, ...]]:
    entries = (name.removesuffix(".ContextKeyName") for name in form if name.endswith(".ContextKeyName"))
    return {
        form[f"{entry}.ContextKeyName"]: tuple(_members(form, f"{entry}.ContextKeyValues"))
        for entry in entries
    }


def _principal(state: SandboxState, arn: str) -> Principal | None:
    from moto.iam.models import iam_backends  # noqa: PLC0415 -- moto is imported when first needed

    kind, _, name = arn.rpartition(":")[2].partition("/")
    name = name.rpartition("/")[2]
    if kind == "role":
        return state.roles.principal(name)
    backend = iam_backends[state.account]["aws"]
    user = backend.users.get(name)
    if user is None:
        return None
    holders: list[Any] = [user, *backend.get_groups_for_user(name)]
    policies = [one for each in holders for one in (*each.policies.values(), *each.managed_policies.values())]
    return Principal(arn, [document_of(one) for one in policies])
