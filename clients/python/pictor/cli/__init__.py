"""The `pictor` command: a thin layer over the client. stdout carries data, stderr talks.

gRPC and protobuf are imported only when a command runs, so that `--help` answers at once.
"""

import sys


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from pictor.cli.app import app  # noqa: PLC0415 - `import pictor.cli` must stay cheap
    except ModuleNotFoundError as missing:
        if missing.name != "typer":
            raise
        sys.exit("pictor: the command is an extra of the client; install it with: pip install 'pictor[cli]'")

    app(prog_name="pictor")
