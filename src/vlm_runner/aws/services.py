"""Which services botocore knows, asked for one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from botocore.exceptions import DataNotFoundError


class Services(Sequence[str]):
    """
    What a loader's `list_available_services` gives, found out when all of it is wanted.

    botocore only asks whether one service is among them, and would look into the folders of all.
    """

    def __init__(self, loader: Any, every: Callable[[str], list[str]], type_name: str) -> None:
        self._loader, self._every, self._type = loader, every, type_name

    def __contains__(self, service: object) -> bool:
        try:
            return bool(self._loader.list_api_versions(service, self._type))
        except DataNotFoundError:
            return False

    def __len__(self) -> int:
        return len(self._every(self._type))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._every(self._type)[index]
