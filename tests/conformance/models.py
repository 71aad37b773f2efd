"""
AWS's newest service models, which are newer than those of the botocore that aiobotocore pins.

`make install` keeps the wheels beside the environment, and they are read as they lie, never installed. Where
there is none, the models of the installed botocore are used.
"""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from functools import cache
from pathlib import Path

from botocore.loaders import Loader
from botocore.model import ServiceModel

FOLDER = Path(sys.prefix) / "newest-models"
_NAMES = {"servicequotas": "service-quotas"}


def wheel(name: str = "botocore") -> Path | None:
    found = sorted(FOLDER.glob(f"{name}-*.whl"))
    return found[-1] if found else None


@cache
def newest(service: str) -> ServiceModel:
    """The model of a service, by the name that its requests are signed with."""
    name = _NAMES.get(service, service)
    path = wheel()
    if path is None:
        return ServiceModel(Loader().load_service_model(name, "service-2"), name)
    with zipfile.ZipFile(path) as packed:
        versions = [
            one for one in packed.namelist()
            if one.startswith(f"botocore/data/{name}/") and "/service-2.json" in one
        ]  # fmt: skip
        body = packed.read(max(versions))
    return ServiceModel(json.loads(gzip.decompress(body) if max(versions).endswith(".gz") else body), name)
