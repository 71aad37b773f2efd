"""
An exchange without anything of its account: fit to be published.

What is kept is named here; all else becomes a placeholder. The same text becomes the same placeholder all
through one recording, so that what AWS repeats can still be told, and a placeholder keeps the form of a name
or an id, so that a replay can send it. Placeholders come from a secret key, which is never written into
the recording: nobody can try out whether a name they know is in it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vlm_runner.aws.exchange import RawExchange

ACCOUNT: Final = "123456789012"
"""Whatever the account was; AWS's documentation uses it too."""

NOBODY: Final = "00000000"
"""In place of the part of its own names that a verification draws by chance."""

BODY: Final = "[body]"
POLICY: Final = "[policy]"

KEPT_MEMBERS: Final = frozenset(
    {
        "AttributeNames",
        "ContentType",
        "DataType",
        "Field",
        "FormatVersion",
        "IfNoneMatch",
        "MessageAttributeNames",
        "Mode",
        "PriceList",
        "QuotaCode",
        "QuotaName",
        "ScheduleExpressionTimezone",
        "ServiceCode",
        "ServiceName",
        "Type",
        "Unit",
        "accept",
        "contentType",
        "modelName",
        "providerName",
        "role",
    }
)
"""Members whose texts are AWS's, not an account's. `modelName` only where a service has none of ours."""

_OURS: Final = frozenset({"ListCustomModels", "GetCustomModel"})
"""Operations in whose answers `modelName` is the account's."""

_BODIES: Final = frozenset({"Body", "body", "text", "messages"})
_FOLDERS: Final = frozenset({"data", "images", "output", "runs"})
"""Parts of keys that are words of AWS's sentences too."""
_SENTENCES: Final = frozenset({"failureMessage", "StringValue"})
_FILTERS: Final = frozenset({"regionCode", "usagetype"})

_MODEL: Final = re.compile(
    r"(?:(?:us|eu|jp|apac|au|global)\.)?(?:amazon|meta|anthropic|mistral|cohere|ai21|deepseek|qwen|openai)"
    r"\.[a-z0-9-]+-v?\d[a-z0-9.-]*(?::\d+(?::\d+k)?)?"
)
_ENUM: Final = re.compile(r"[A-Za-z][A-Za-z0-9_. -]{0,63}")
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,79}")
_NUMBER: Final = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?(?:[eE]-?\d{1,3})?|true|false")
_AT: Final = re.compile(r"at\([0-9T:-]{19}\)")
_ARN: Final = re.compile(r"arn:(aws[a-z-]*):([a-z0-9-]+):([a-z0-9-]*):(\d*):(.+)", re.DOTALL)
_ARN_IN_TEXT: Final = re.compile(r"arn:aws[a-z-]*:[^\s\"'<>()\[\],;]*[^\s\"'<>()\[\],;.:]")
_ID: Final = re.compile(r"[a-z0-9]{12}")
_LONG: Final = re.compile(r"[a-z2-7]{20}")
"""The last part of a run's names, a hash: see `vlm_runner.core.names.resource_name`."""
_TYPE: Final = re.compile(r"[a-z][a-z-]*")
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN_WORD: Final = re.compile(
    r"[A-Za-z]+(?:['\N{RIGHT SINGLE QUOTATION MARK}-][A-Za-z]+)*|\d{1,7}(?:\.\d+)?"
)
_SUSPECT: Final = re.compile(r"[^\s\"'<>()\[\]{},;=]+")
_SAID_BY_AWS: Final = re.compile(
    r"[A-Za-z]+(?:\.[A-Za-z]+)+|[a-z0-9-]+:[A-Z*][A-Za-z*]+|[a-z-]+\.amazonaws\.com"
)


class Redactor:
    """With the key of one recording."""

    def __init__(self, key: bytes, *, uid: str = "", secrets: Iterable[str] = ()) -> None:
        """
        `uid` is in the names that the verification itself gives; they keep their form, and their beginning,
        by which they are listed. `secrets` are taken out of sentences even where they look like a plain word.
        """
        self._key = key
        self._own = re.compile(rf"((?:vr-)?verify-){uid}(?![0-9a-f])(.*)") if uid else None
        self._replaced = {text for text in secrets if text}

    def exchange(self, raw: RawExchange) -> dict[str, Any]:
        """What may be written of it: JSON values only."""
        walk = _Walk(self, raw.operation)
        # The request first: what is in it, a sentence of the answer may repeat.
        request = walk.value("", raw.request, raw.request_shape)
        return {
            "service": raw.service,
            "operation": raw.operation,
            "request": request,
            "status": raw.status,
            "code": raw.code if raw.code is None or _CODE.fullmatch(raw.code) else self.word(raw.code),
            "message": None if raw.message is None else self.sentence(raw.message),
            "answer": walk.value("", raw.answer, raw.answer_shape),
        }

    def text(self, value: str) -> str:
        """A name, an id, an ARN, an address, or JSON: in its form, without what it says."""
        if not value or _MODEL.fullmatch(value) or _NUMBER.fullmatch(value) or _AT.fullmatch(value):
            return value
        if (arn := _ARN.fullmatch(value)) is not None:
            return self._arn(*arn.groups())
        if value.startswith("s3://"):
            bucket, slash, key = value[5:].partition("/")
            return f"s3://{self.word(bucket)}{slash}{self._path(key)}"
        if value.startswith(("https://", "http://")):
            scheme, _, rest = value.partition("://")
            host, *path = rest.split("/")
            shown = host if host.endswith(".amazonaws.com") and host.count(".") == 3 else self.word(host)
            return "/".join([f"{scheme}://{shown}", *(part and self.word(part) for part in path)])
        if value.startswith("{"):
            return self._json(value)
        return self._path(value)

    def word(self, value: str) -> str:
        """The placeholder of one name or id."""
        if not value or value == ACCOUNT or _MODEL.fullmatch(value):
            return value
        if re.fullmatch(r"\d{12}", value):
            return ACCOUNT
        if value not in _FOLDERS:
            self._replaced.add(value)
        if self._own is not None and (own := self._own.fullmatch(value)) is not None:
            return f"{own[1]}{NOBODY}{_LONG.sub(lambda found: self._tail(found[0])[:8], own[2])}"
        tail = self._tail(value)
        # Bedrock's ids are twelve of [a-z0-9], and its patterns want them so.
        return f"x{tail[:11]}" if _ID.fullmatch(value) else f"name-{tail[:8]}"

    def _tail(self, value: str) -> str:
        digest = hmac.new(self._key, value.encode(errors="replace"), hashlib.sha256).digest()
        return base64.b32encode(digest).decode().lower()

    def sentence(self, text: str) -> str:
        """What AWS says to people: its words stay, what they are about does not."""
        done: list[str] = []

        def replaced(found: re.Match[str]) -> str:
            done.append(self.text(found[0]))
            return f"\0{len(done) - 1}\0"

        text = _ARN_IN_TEXT.sub(replaced, text)
        for known in sorted(self._replaced, key=len, reverse=True):
            if len(known) > 2 and known in text:
                text = re.sub(rf"(?<![\w\0-]){re.escape(known)}(?![\w\0-])", replaced, text)
        text = _SUSPECT.sub(lambda found: self._of_sentence(found[0]), text)
        return re.sub(r"\0(\d+)\0", lambda found: done[int(found[1])], text)

    def _of_sentence(self, word: str) -> str:
        core = word.strip(".:!?*`")
        if not core or "\0" in word or not re.search(r"\w", core):
            return word
        if any(pattern.fullmatch(core) for pattern in (_PLAIN_WORD, _MODEL, _SAID_BY_AWS, _NUMBER)):
            return word
        return word.replace(core, self.text(core))

    def _path(self, value: str) -> str:
        return "/".join(part and self.word(part) for part in value.split("/"))

    def _arn(self, partition: str, service: str, region: str, account: str, resource: str) -> str:
        head = f"arn:{partition}:{service}:{region}:{account and ACCOUNT}:"
        if resource.startswith("aws-sdk:"):
            return head + resource  # a universal target: a service and an action
        kind, slash, rest = resource.partition("/")
        if slash and _TYPE.fullmatch(kind) and service != "s3":
            kept = {"default"} if service == "scheduler" else set()
            parts = [part if part in kept else part and self.word(part) for part in rest.split("/")]
            return f"{head}{kind}/{'/'.join(parts)}"
        return head + self._path(resource)

    def _json(self, text: str) -> str:
        try:
            found = json.loads(text)
        except ValueError:
            return self.word(text)
        return json.dumps(self._plain(found))

    def _plain(self, value: Any) -> Any:
        """Of no known shape: keys that are plain words stay, since their casing matters."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {(k if _KEY.fullmatch(k) else self.word(k)): self._plain(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._plain(each) for each in value]
        return value


class _Walk:
    """Through one exchange, along the shapes that botocore knows."""

    def __init__(self, redactor: Redactor, operation: str) -> None:
        self._redactor, self._operation = redactor, operation

    def value(self, member: str, value: Any, shape: Any) -> Any:  # noqa: PLR0911 - a kind each
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, datetime):
            return value.isoformat()
        if member.endswith("PolicyDocument"):
            return POLICY
        if member in _BODIES or not isinstance(value, str | Mapping | list | tuple):
            return BODY
        if isinstance(value, str):
            return self._text(member, value, shape)
        if isinstance(value, Mapping):
            return self._mapping(value, shape)
        inner = getattr(shape, "member", None)
        return [self.value(member, each, inner) for each in value]

    def _mapping(self, value: Mapping[str, Any], shape: Any) -> dict[str, Any]:
        if value.get("Field") in _FILTERS:
            return dict(value)  # what is asked of AWS's public price list
        members = getattr(shape, "members", None)
        if members is not None:
            return {key: self.value(key, each, members.get(key)) for key, each in value.items()}
        inner = getattr(shape, "value", None)
        return {self._key(key): self.value(key, each, inner) for key, each in value.items()}

    def _key(self, key: str) -> str:
        return key if _KEY.fullmatch(key) else self._redactor.word(key)

    def _text(self, member: str, value: str, shape: Any) -> str:
        enum = getattr(shape, "enum", None)
        if enum and _ENUM.fullmatch(value):
            return value  # one that botocore does not know, too: that is what is looked for
        if member == "key" and value.startswith("vlm-runner:"):
            return value
        if member in KEPT_MEMBERS and not (member == "modelName" and self._operation in _OURS):
            return value
        if member in _SENTENCES and not value.startswith("arn:"):
            return self._redactor.sentence(value)
        return self._redactor.text(value)
