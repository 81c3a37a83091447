"""The command line: the only package that prints, or turns an error into an exit code."""

import sys
from io import TextIOWrapper

INTERRUPTED = 130


def main() -> None:
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                # a terminal that has no such character gets '?', not a traceback
                stream.reconfigure(errors="replace")
        from liere_cli.utils.paths import provide_home

        provide_home()
        from liere_cli.cli.app import app

        app(prog_name="liere")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
