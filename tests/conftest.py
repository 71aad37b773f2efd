"""For all tests: no example is timed, since machines are slow when they are busy."""

from __future__ import annotations

import os
import tempfile

from hypothesis import settings

# Prices that a test looks up are not the user's, nor the other way about.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="vlm-runner-cache-")

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
