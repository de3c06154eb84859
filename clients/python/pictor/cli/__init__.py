"""The `pictor` command: a thin layer over the client. stdout carries data, stderr talks.

gRPC and protobuf are imported only when a command runs, so that `--help` answers at once.
"""


def main() -> None:
    """Run the command line."""
    from pictor.cli.app import app  # noqa: PLC0415 - `import pictor.cli` must stay cheap

    app(prog_name="pictor")
