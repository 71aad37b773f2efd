"""`python -m vlm_runner` is `vlm-runner`."""

from __future__ import annotations

from vlm_runner.cli import main

if __name__ == "__main__":
    main()
