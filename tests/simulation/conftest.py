import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=None, help="How many histories to simulate.")
    parser.addoption("--first-seed", type=int, default=0, help="Where to begin.")
