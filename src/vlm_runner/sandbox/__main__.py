import argparse
from datetime import datetime
from pathlib import Path

from vlm_runner.sandbox import SandboxOptions, serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m vlm_runner.sandbox", description="AWS on your laptop.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help="gets the URL once the server listens")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds per second")
    parser.add_argument("--as-of", type=datetime.fromisoformat, help="where simulated time begins")
    parser.add_argument("--account", default="123456789012")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model-units", type=int, default=0, help="quota of provisioned throughput")
    parser.add_argument(
        "--allow-host", dest="hosts", action="append", default=[], help="a name that it also answers to"
    )
    serve(SandboxOptions(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
