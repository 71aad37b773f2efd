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
from packaging.version import Version

FOLDER = Path(sys.prefix) / "newest-models"
_NAMES = {"servicequotas": "service-quotas"}


def wheel(name: str = "botocore") -> Path | None:
    """The newest: one that was fetched before stays beside it."""
    return max(FOLDER.glob(f"{name}-*.whl"), key=version_of, default=None)


def version_of(path: Path) -> Version:
    return Version(path.name.split("-")[1])


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
