"""Secrets out of text that leaves the process."""

from __future__ import annotations

import json
import re
from typing import Any, Final

IS: Final = r"""(?:\\?["']?\s*(?:[=:>]|%3D)\s*\\?["']?)"""
"""Between a name and its value: in a header, an address, settings, JSON, XML, and what Python prints."""
VALUE: Final = r"""[^\s"'\\,;&<>]+"""
PATTERNS: Final = (
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"),
    re.compile(r"\b(?:hf_|gh[opsu]_|github_pat_|whsec_)[A-Za-z0-9_+/=-]{8,}"),
    re.compile(
        rf"(?i)(authorization{IS})(?:AWS4-HMAC-SHA256[^\"'\n]*|(?:(?:Basic|Bearer|Negotiate|Token)\s+)?{VALUE})"
    ),
    re.compile(r"(?i)(\bBearer\s+)[\w.~+/=-]{16,}"),
    re.compile(rf"(?i)(X-(?:Amz|Goog)-(?:Security-Token|Signature|Credential){IS}){VALUE}"),
    re.compile(rf"((?:[?&;]|u0026)(?:Signature|sig)=){VALUE}"),
    re.compile(
        rf"(?i)((?:secret_?access_?key|(?:access|auth|hf|refresh|security|session)_?token|\w_api_?key|x-api-key"
        rf"|\w_(?:password|secret)|AccountKey){IS}){VALUE}"
    ),
    re.compile(r"(?i)(://[^/\s:@\"'<>]*:)[^\s/\"'<>]+(?=@)"),
    re.compile(r"(?i)(://)[^/\s:@\"'<>]{16,}(?=@)"),
)
ADDRESS: Final = re.compile(r"\bhttps?://[^\s'\"<>]+")
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""
What could steer a terminal, end a line or turn its direction, or cannot be written at all.

Controls (C0 but line feed and tab, DEL, C1), line and paragraph separators, bidirectional controls (Unicode's
Bidi_Control but the marks, which right-to-left text needs), and unpaired surrogates.
"""


def redacted(text: str) -> str:
    """`text` without access keys, tokens, signatures and passwords."""
    for pattern in PATTERNS:
        text = pattern.sub(lambda match: "".join(match.groups("")) + "[redacted]", text)
    return text


def redacted_value(value: Any) -> Any:
    """The same through lists and dicts."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redacted_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_value(inner) for inner in value]
    return value


def printable(text: str) -> str:
    """`text` without what would steer a terminal; line feeds and tabs stay."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON; what is not `printable` is escaped, so that it stays what it is and steers nothing."""
    return escaped(
        json.dumps(
            value,
            ensure_ascii=False,
            indent=indent,
            separators=None if indent else (",", ":"),
            default=str,
        )
    )


def escaped(document: str) -> str:
    """A JSON document of the same meaning, whose text is `printable`."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def one_line(text: str, most: int) -> str:
    """`text` in one line of at most `most` characters: what others wrote must not forge a line of a log."""
    whole = " ".join(printable(text[: 2 * most]).encode(errors="replace").decode().split())
    return whole if len(whole) <= most else whole[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def without_path(url: str) -> str:
    """Scheme and host only: the rest of a webhook's address is often its secret."""
    scheme, _, rest = url.partition("://")
    host = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme}://{host}/\N{HORIZONTAL ELLIPSIS}"


def without_paths(text: str) -> str:
    """`text` in which each address is scheme and host only."""
    return ADDRESS.sub(lambda found: without_path(found[0]), text)


def without_addresses(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec, as plain values, whose webhook's address can be shown."""
    events = spec.get("events") or {}
    if not events.get("webhook"):
        return spec
    return spec | {"events": events | {"webhook": without_path(str(events["webhook"]))}}
