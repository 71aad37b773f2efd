from tests.shortcuts import checkpoints_read_once

__all__ = ["checkpoints_read_once"]
