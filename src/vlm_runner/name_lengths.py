"""How long names of AWS resources may be; apart from the spec, for `status` needs no models."""

from __future__ import annotations

from typing import Final

LONGEST_NAME: Final = 63
"""Characters of a job's or a model's name (Bedrock API reference, JobName and CustomModelName)."""
UID_LENGTH: Final = 20
"""Characters that `{uid}` of a name's template stands for."""
