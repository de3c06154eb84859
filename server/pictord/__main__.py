"""The command's door: `pictord`, and `python -m pictord`."""

import os


def main() -> None:
    """Run the command line, without gRPC's own lines on standard error unless somebody asked for them.

    What its core has to say (a port that is taken, a peer that hung up) is in another form than our lines, comes before
    them, and is said again by us. It reads the variable while it is imported (grpcio 1.85.1, measured 2026-11-22).
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from pictord.cli import main as command  # noqa: PLC0415 - imports gRPC

    command()


if __name__ == "__main__":
    main()
