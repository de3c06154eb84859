"""`python -m pictord.sandbox`: both simulated providers in a process of their own."""

import argparse

from pictord.sandbox.app import serve_forever
from pictord.sandbox.settings import SandboxSettings


def main() -> None:
    """Read the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m pictord.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--fast", action="store_true", help="pre-made bodies for the benchmark only")
    parser.add_argument("--fast-latency-ms", type=float, default=0.0)
    serve_forever(SandboxSettings(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
