"""
Which names the sandbox answers to.

A page of a stranger can let its own name point to 127.0.0.1 (DNS rebinding) and then read and change what is
there, but it cannot choose what the browser sends as Host: that name.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

LOOPBACK = "localhost"
"""And what ends with it: S3 clients put the bucket before it (RFC 6761, section 6.3)."""


def is_allowed(host: str | None, told: Collection[str] = ()) -> bool:
    """Whether a Host header is a loopback name, an address, or one of the names `told` or below one."""
    try:
        name = (urlsplit(f"//{host or ''}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if any(name == known or name.endswith(f".{known}") for known in (LOOPBACK, *map(str.lower, told))):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
