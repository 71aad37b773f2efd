from tests.decoders import decoders_kept

__all__ = ["decoders_kept"]
