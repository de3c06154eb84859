"""`python -m pictord.sandbox`: both simulated providers in a process of their own."""

import argparse
import json
from pathlib import Path
from typing import Any

from pictord.sandbox.app import serve_forever
from pictord.sandbox.settings import SandboxSettings


def main() -> None:
    """Read the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m pictord.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--vary-repeats", action="store_true", help="another picture each time a prompt comes again")
    parser.add_argument(
        "--script", type=_script, default=(), help="JSON file: a list of faults with from_s and until_s"
    )
    parser.add_argument("--fast", action="store_true", help="pre-made bodies for the benchmark only")
    parser.add_argument("--fast-latency-ms", type=float, default=0.0)
    serve_forever(SandboxSettings(**vars(parser.parse_args())))


def _script(path: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(Path(path).read_text("utf-8")))


if __name__ == "__main__":
    main()
