"""Which part of the work is this instance's: what SageMaker writes into a Processing container."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vlm_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def part_of(path: Path) -> tuple[int, int]:
    """
    (number of this instance, how many there are), from `resourceconfig.json`; (0, 1) outside of SageMaker.

    Raises:
        ConfigurationError: the file is there and does not say so.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0, 1
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from error
    try:
        hosts = sorted(config["hosts"], key=_order)
        return hosts.index(config["current_host"]), len(hosts)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{path} names no hosts, or not this one ({error!r}).") from error


def _order(host: str) -> tuple[int, str]:
    """algo-10 after algo-9."""
    number = host.rpartition("-")[2]
    return (int(number) if number.isdigit() else 0, host)
